"""Many jobs at a time: the same as one by one, in a few statements."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import chord, group
from celery.signals import before_task_publish
from sqlalchemy import Connection, create_engine, event, select, text
from sqlalchemy.orm import Session

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.enqueue.bulk import CHUNK, Call, enqueue_many, enqueue_together
from celeriac.enqueue.transactions import enqueue_in
from celeriac.errors import BadArgument, EnqueueUncertain, LedgerUnavailable, PayloadTooLarge
from celeriac.headers import STAMP
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.operate.job import Job, cancel, job, jobs
from celeriac.settings.platform import Settings
from celeriac.task.task import Task
from tests.apps import build
from tests.producers import producing
from tests.servers import PostgresServer
from tests.support import wait_until


@pytest.fixture
def app(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    app = build(Settings(task_modules=("tests.jobs",)), set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def echo(app: Celeriac) -> Any:
    return app.tasks["tests.echo"]


def messages(app: Celeriac, queue: str = "normal") -> list[dict[str, Any]]:
    with app.connection_for_write() as connection:
        return [json.loads(text) for text in reversed(connection.default_channel.client.lrange(queue, 0, -1))]


def arguments(message: dict[str, Any]) -> Any:
    return json.loads(b64decode(message["body"]))[0]


def oldest_first(app: Celeriac) -> list[Job]:
    return jobs(limit=1_000, app=app)[::-1]


#: What differs between two calls that ask for the same.
OWN = ("id", "root_id", "queued", "next_attempt_after", "dispatched")


def test_a_job_of_many_is_the_job_of_a_single_call(app: Celeriac, echo: Any) -> None:
    options = {"priority": "high", "user_id": "u", "max_tries": 3, "timeout": 9}
    echo.apply_async((0, "ü"), {"password": "x"}, **options)
    assert enqueue_many(echo, [Call((0, "ü"), {"password": "x"})] * 2, **options) == 2
    single, first, second = (found.to_dict() for found in oldest_first(app))
    assert first["id"] != second["id"]
    for found in (first, second):
        assert found["root_id"] == found["id"]
        assert {k: v for k, v in found.items() if k not in OWN} == {
            k: v for k, v in single.items() if k not in OWN
        }
    one, *others = messages(app, "high")
    assert [message["headers"]["id"] for message in others] == [first["id"], second["id"]]
    for message in others:
        assert message["body"] == one["body"]
        same = {k: v for k, v in message["headers"].items() if k not in ("id", "root_id", STAMP)}
        assert same == {k: v for k, v in one["headers"].items() if k not in ("id", "root_id", STAMP)}
        assert "***" in message["headers"]["kwargsrepr"]


HARD = 'tab\t newline\n return\r backslash\\ quote" NUL\x00 ü € 𝄞 \\N \\.'


def test_texts_arrive_as_they_were_given(app: Celeriac, echo: Any) -> None:
    assert enqueue_many(echo, [[HARD, n] for n in range(3)], user_id="a\\b\tc") == 3
    assert [found.args for found in oldest_first(app)] == [[HARD, n] for n in range(3)]
    assert {found.user_id for found in oldest_first(app)} == {"a\\b\tc"}
    assert [json.loads(b64decode(one["body"]))[0] for one in messages(app)] == [[HARD, n] for n in range(3)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"countdown": 300.0, "expires": 900.0},
        {"eta": datetime(2100, 1, 1, tzinfo=UTC), "expires": datetime(2101, 1, 1, tzinfo=UTC)},
        {"schedule": "nightly", "timeout": 2.5, "priority": 77, "max_tries": 9},
    ],
)
def test_every_column_of_many_is_that_of_one(app: Celeriac, echo: Any, options: dict[str, Any]) -> None:
    assert enqueue_many(echo, [[1]] * 3, **options) == 3
    echo.apply_async((1,), **options)
    with app.database.reading() as connection:
        *many, one = connection.execute(select(JOBS).order_by(JOBS.c.queued)).mappings().all()
    assert len(many) == 3
    for row in many:
        assert row["headers"] == one["headers"] | {"id": str(row["id"]), "root_id": str(row["id"])}
        assert row["root_id"] == row["id"]
        for name, value in one.items():
            if isinstance(value, datetime):
                assert abs((row[name] - value).total_seconds()) < 5, name
            elif name not in ("id", "root_id", "headers", "message_tag"):
                assert row[name] == value, name


def test_an_id_that_exists_is_met_again_and_the_others_are_new(
    app: Celeriac, echo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = echo.delay(0).id
    ids = iter([known, "018f0000-0000-7000-8000-000000000001"])
    monkeypatch.setattr("celeriac.enqueue.template.new_ids", lambda: ids)
    assert enqueue_many(echo, [[1], [0], [3]]) == 2
    assert sorted(found.args[0] for found in oldest_first(app) if found.args) == [0, 1, 3]
    assert len(messages(app)) == 3


def test_one_id_or_key_for_all_is_refused(app: Celeriac, echo: Any) -> None:
    for name in ("task_id", "idempotency_key"):
        with pytest.raises(BadArgument, match=name):
            enqueue_many(echo, [[1]], **{name: "k"})
    assert not oldest_first(app)


def test_the_order_of_calls_is_kept_among_those_of_all_kinds(app: Celeriac, echo: Any) -> None:
    calls: list[Any] = [
        [0],
        [1],
        Call([2], idempotency_key="k"),
        [3],
        Call([4], options={"user_id": "u"}),
        (5,),
    ]
    assert enqueue_many(echo, calls) == 6
    assert [found.args for found in oldest_first(app)] == [[n] for n in range(6)]
    assert [json.loads(b64decode(one["body"]))[0] for one in messages(app)] == [[n] for n in range(6)]
    assert [(found.idempotency_key, found.user_id) for found in oldest_first(app)][2:5] == [
        ("k", None),
        (None, None),
        (None, "u"),
    ]


def test_calls_are_lists_mappings_or_calls(app: Celeriac, echo: Any) -> None:
    given = ([1], (2,), {"x": 3}, Call((4,), {"x": 5}))
    assert enqueue_many(echo, iter(given)) == 4
    assert [(list(found.args or ()), found.kwargs) for found in oldest_first(app)] == [
        ([1], {}),
        ([2], {}),
        ([], {"x": 3}),
        ([4], {"x": 5}),
    ]


def test_a_call_may_have_options_of_its_own(app: Celeriac, echo: Any) -> None:
    later = datetime(2100, 1, 1, tzinfo=UTC)
    calls = [Call((1,)), Call((2,), options={"priority": "critical"}), Call((3,), options={"eta": later})]
    assert enqueue_many(echo, calls, user_id="u") == 3
    plain, urgent, late = oldest_first(app)
    assert (plain.queue, urgent.queue, late.next_attempt_after) == ("normal", "critical", later)
    assert {found.user_id for found in (plain, urgent, late)} == {"u"}
    assert len(messages(app)) == len(messages(app, "critical")) == 1
    assert late.dispatched is None


def test_a_key_is_one_job_and_a_cancelled_one_is_replayed(app: Celeriac, echo: Any) -> None:
    calls = [Call((n,), idempotency_key=f"k{n % 3}") for n in range(6)]
    assert enqueue_many(echo, calls) == 3
    assert enqueue_many(echo, calls) == 0
    assert [found.args for found in oldest_first(app)] == [[0], [1], [2]]
    assert [arguments(message) for message in messages(app)] == [[0], [1], [2]]
    cancelled = oldest_first(app)[1].id
    cancel(cancelled, app=app)
    assert enqueue_many(echo, calls) == 0
    assert job(cancelled, app=app).state is JobState.PENDING


def test_chunks_are_transactions_and_progress_is_told(app: Celeriac, echo: Any) -> None:
    told: list[int] = []
    statements: list[str] = []
    made: list[str] = []

    def publishing(sender: str, **_: Any) -> None:
        made.append(sender)

    before_task_publish.connect(publishing)
    event.listen(app.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    try:
        assert enqueue_many(echo, ([n] for n in range(2_500)), progress=told.append) == 2_500
    finally:
        before_task_publish.disconnect(publishing)
    assert told == [1_000, 2_000, 2_500]
    assert statements.count("COMMIT") == 3
    assert made == ["tests.echo"] * 3
    if app.database.dialect == "postgresql":
        assert len(statements) == 9  # BEGIN, the clock, COMMIT; beside them COPY
    found = messages(app)
    assert [json.loads(m["headers"]["argsrepr"].strip("(),")) for m in found] == list(range(2_500))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([{1, 2}], BadArgument),
        ([float("nan")], BadArgument),
        (["x" * 2_000_000], PayloadTooLarge),
        ("not a call", BadArgument),
    ],
)
def test_a_bad_call_is_named_and_its_chunk_is_not_written(
    app: Celeriac, echo: Any, bad: Any, error: type[Exception]
) -> None:
    calls = [*([n] for n in range(15)), bad]
    with pytest.raises(error) as caught:
        enqueue_many(echo, calls, chunk=10)
    assert caught.value.__notes__ == ["in call 15"]
    assert len(oldest_first(app)) == len(messages(app)) == 10


def test_a_call_that_does_not_fit_the_task_is_refused(app: Celeriac) -> None:
    with pytest.raises(TypeError) as caught:
        enqueue_many(app.tasks["tests.add"], [[1, 2], [1]])
    assert caught.value.__notes__ == ["in call 1"]
    assert not oldest_first(app)


def test_in_a_transaction_of_the_callers(app: Celeriac, echo: Any) -> None:
    engine = create_engine(app.settings.database)
    with Session(engine) as session:
        with enqueue_in(session, app=app):
            assert enqueue_many(echo, ([n] for n in range(20)), chunk=7) == 20
        assert enqueue_many(echo, [[20]], session=session) == 1
        assert not messages(app)
        session.rollback()
        assert not oldest_first(app)
        enqueue_many(echo, ([n] for n in range(20)), session=session)
        session.commit()
    engine.dispose()
    assert len(oldest_first(app)) == len(messages(app)) == 20


def test_a_group_and_a_chord_are_written_together(app: Celeriac) -> None:
    add, total = app.tasks["tests.add"], app.tasks["tests.total"]
    statements: list[str] = []
    event.listen(app.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with enqueue_together(app=app):
        group(add.s(n, 1) for n in range(30)).apply_async()
        chord([add.s(n, 1) for n in range(30)], total.s()).apply_async()
        assert not oldest_first(app)
    found = oldest_first(app)
    assert len(found) == 61
    assert len(messages(app)) == 60
    (body,) = [one for one in found if one.next_attempt_after == PARKED]
    assert body.task == "tests.total"
    assert statements.count("COMMIT") == 1


def test_members_of_a_group_are_written_together_without_a_word(app: Celeriac) -> None:
    add, total = app.tasks["tests.add"], app.tasks["tests.total"]
    statements: list[str] = []
    event.listen(app.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    result = group(add.s(n, 1) for n in range(30)).apply_async()
    assert statements.count("COMMIT") == 1
    found = oldest_first(app)
    assert [str(one.id) for one in found] == [member.id for member in result.results]
    assert [one["headers"]["id"] for one in messages(app)] == [str(one.id) for one in found]
    chord((add.s(n, 1) for n in range(1_500)), total.s()).apply_async()
    assert statements.count("COMMIT") <= 1 + 3  # two chunks of members, and the body
    assert len(messages(app)) == 30 + 1_500
    inner = group(group(add.s(n, 1) for n in range(3)) for _ in range(3))
    inner.apply_async()
    assert len(messages(app)) == 30 + 1_500 + 9


def test_a_member_that_is_refused_leaves_the_others_unwritten(app: Celeriac) -> None:
    with pytest.raises(BadArgument):
        group([app.tasks["tests.echo"].s(1), app.tasks["tests.echo"].s({1, 2})]).apply_async()
    assert not oldest_first(app)
    assert not messages(app)


def test_what_is_no_member_is_written_at_once(app: Celeriac, echo: Any) -> None:
    with app.producer_or_acquire() as producer:
        echo.apply_async([1], producer=producer)
        assert len(oldest_first(app)) == len(messages(app)) == 1


def test_a_block_that_raises_enqueues_nothing(app: Celeriac, echo: Any) -> None:
    with pytest.raises(ZeroDivisionError), enqueue_together(app=app):
        echo.delay(1)
        raise ZeroDivisionError
    assert not oldest_first(app)
    assert not messages(app)


def test_without_a_broker_they_are_accepted_and_left_to_the_dispatcher(
    app: Celeriac, echo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.broker_state.failed()
    assert enqueue_many(echo, ([n] for n in range(5))) == 5
    assert {found.dispatched for found in oldest_first(app)} == {None}
    assert not messages(app)


def test_without_a_database_the_error_says_how_many_were_enqueued(
    redis_url: str, private_postgres: PostgresServer, private_postgres_url: str
) -> None:
    known: dict[str, Any] = {"broker_url": redis_url, "database_url": private_postgres_url}
    app = build(Settings(**known, task_modules=("tests.jobs",)), set_as_current=False)

    def stop_after_ten(done: int) -> None:
        if done == 10:
            private_postgres.kill()

    try:
        with pytest.raises(LedgerUnavailable) as caught:
            enqueue_many(app.tasks["tests.echo"], ([n] for n in range(30)), chunk=10, progress=stop_after_ten)
    finally:
        private_postgres.restart()
        app.close()
    assert caught.value.__notes__ == ["10 calls before it were enqueued"]


def test_a_chunk_must_hold_something(echo: Any) -> None:
    with pytest.raises(BadArgument, match="chunk"):
        enqueue_many(echo, [[1]], chunk=0)
    assert CHUNK == 1_000


def test_a_key_that_comes_twice_in_a_transaction_is_its_first_job(app: Celeriac, echo: Any) -> None:
    engine = create_engine(app.settings.database)
    with Session(engine) as session:
        enqueue_many(echo, [Call((n,), idempotency_key="k") for n in range(2)], session=session)
        session.commit()
    engine.dispose()
    assert [found.args for found in oldest_first(app)] == [[0]]
    assert [arguments(message) for message in messages(app)] == [[0]]


# ---- what a task or a caller does for each job


def _nothing(*_: Any) -> None:
    pass


class _Adds(Task):
    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        return super().apply_async((*args, "added"), kwargs, *rest, **options)


class _Shadows(Task):
    abstract = True

    def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
        return f"shadow {args[0]}"


def test_an_apply_async_of_the_tasks_own_is_called_for_each(app: Celeriac) -> None:
    task = app.task(base=_Adds, name="tests.adds", shared=False)(_nothing)
    assert enqueue_many(task, [[1], [2], [3]]) == 3
    assert [found.args for found in oldest_first(app)] == [[n, "added"] for n in (1, 2, 3)]


def test_a_shadow_name_is_asked_for_each(app: Celeriac) -> None:
    task = app.task(base=_Shadows, name="tests.shadows", shared=False)(_nothing)
    assert enqueue_many(task, [[1], [2]]) == 2
    assert [message["headers"]["shadow"] for message in messages(app)] == ["shadow 1", "shadow 2"]


def test_arguments_that_a_receiver_changes_are_changed_in_each(app: Celeriac, echo: Any) -> None:
    def publishing(body: Any, **_: Any) -> None:
        body[1]["added"] = True

    before_task_publish.connect(publishing)
    try:
        assert enqueue_many(echo, [[1], [2]]) == 2
    finally:
        before_task_publish.disconnect(publishing)
    assert [found.kwargs for found in oldest_first(app)] == [{"added": True}] * 2


def test_what_the_caller_hides_is_hidden_in_each(app: Celeriac, echo: Any) -> None:
    assert enqueue_many(echo, [["secret"], ["secret"]], argsrepr="***") == 2
    assert [message["headers"]["argsrepr"] for message in messages(app)] == ["***"] * 2


# ---- what is lost on the way


def test_the_chunk_before_a_bad_one_is_told(app: Celeriac, echo: Any) -> None:
    told: list[int] = []
    with pytest.raises(BadArgument):
        enqueue_many(echo, [[1], [2], [3], [{1}]], chunk=2, progress=told.append)
    assert told == [2]
    assert [found.args for found in oldest_first(app)] == [[1], [2]]


@pytest.fixture
def on_postgresql(redis_url: str, postgres_url: str) -> Iterator[Celeriac]:
    with producing(redis_url, postgres_url) as app:
        yield app


@contextmanager
def commits_are_lost(app: Celeriac, *, times: int) -> Iterator[None]:
    """The server ends the connection before the next so many of its commits."""
    left = [times]

    def cut(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if statement == "COMMIT" and left[0]:
            left[0] -= 1
            pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
            assert beside.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}).scalar()

    engine = app.database.engine
    own = create_engine(app.settings.database)
    event.listen(engine, "before_cursor_execute", cut)
    try:
        with own.connect() as beside:
            yield
    finally:
        event.remove(engine, "before_cursor_execute", cut)
        own.dispose()
    assert left[0] < times, "no commit was lost"


def _in_a_block(app: Celeriac, echo: Any) -> None:
    with enqueue_together(app=app):
        for n in range(3):
            echo.delay(n)


_OWN_WAY = {"timeout": 9}
MANY: dict[str, Any] = {
    "alike": lambda app, echo: enqueue_many(echo, [[n] for n in range(3)]),
    "of all kinds": lambda app, echo: enqueue_many(
        echo, [Call([n], options={"timeout": 9}) for n in range(3)]
    ),
    "in a block": _in_a_block,
    "a group": lambda app, echo: group(echo.s(n) for n in range(3)).apply_async(),
}
callbacks = pytest.mark.parametrize("enqueue", MANY.values(), ids=MANY)


@callbacks
def test_after_a_commit_whose_end_was_not_heard_of_the_ids_decide(
    on_postgresql: Celeriac, enqueue: Any
) -> None:
    with commits_are_lost(on_postgresql, times=1):
        enqueue(on_postgresql, on_postgresql.tasks["tests.echo"])
    assert [found.args for found in oldest_first(on_postgresql)] == [[0], [1], [2]]
    assert [arguments(message) for message in messages(on_postgresql)] == [[0], [1], [2]]


@callbacks
def test_what_nobody_can_know_is_said_to_be_uncertain(on_postgresql: Celeriac, enqueue: Any) -> None:
    with commits_are_lost(on_postgresql, times=2), pytest.raises(EnqueueUncertain) as caught:
        enqueue(on_postgresql, on_postgresql.tasks["tests.echo"])
    assert "and 2 others of the same transaction" in caught.value.__notes__
    assert not messages(on_postgresql)


def test_an_iterator_that_raises_does_not_hide_what_became_of_the_chunk_before(
    on_postgresql: Celeriac,
) -> None:
    def calls() -> Iterator[list[int]]:
        yield from ([1], [2])
        raise ZeroDivisionError

    with commits_are_lost(on_postgresql, times=2), pytest.raises(EnqueueUncertain) as caught:
        enqueue_many(on_postgresql.tasks["tests.echo"], calls(), chunk=2)
    assert isinstance(caught.value.__context__, Exception)


def test_two_producers_of_the_same_keys_do_not_refuse_each_other(on_postgresql: Celeriac) -> None:
    app = on_postgresql
    keys = [Call([n], idempotency_key=f"k{n}") for n in range(2)]
    echo = app.tasks["tests.echo"]
    own = create_engine(app.settings.database)
    with Session(own) as other, ThreadPoolExecutor(1) as thread, own.connect() as beside:
        other.execute(text("SET deadlock_timeout = '60s'"))  # it is not the one that is ended
        enqueue_many(echo, keys[1:], session=other)
        many = thread.submit(enqueue_many, echo, keys)
        wait_until(lambda: beside.execute(_WAITS).scalar(), within=10, saying="the one waits for the other")
        enqueue_many(echo, keys[:1], session=other)
        other.commit()
        assert many.result(60) == 0
    own.dispose()
    assert len(oldest_first(app)) == 2


_WAITS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE pg_blocking_pids(pid) <> '{}' AND datname = current_database()"
)


def test_a_group_needs_one_producer(redis_url: str, database_url: str) -> None:
    with producing(redis_url, database_url) as app:
        app.conf.broker_pool_limit = 1
        group(app.tasks["tests.echo"].s(n) for n in range(3)).apply_async()
        assert [arguments(message) for message in messages(app)] == [[0], [1], [2]]
