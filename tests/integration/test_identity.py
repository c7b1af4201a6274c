"""Which message is a row's own, and what an id or a key means that is used again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import celery
import pytest
from celery import chain, chord, group
from celery._state import pop_current_task, push_current_task
from sqlalchemy import create_engine, delete, update
from sqlalchemy.orm import Session

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.broker.message import Message, parse
from celeriac.enqueue.bulk import Call, enqueue_many, enqueue_together
from celeriac.enqueue.capture import capture_jobs
from celeriac.enqueue.reused_id import RUNS
from celeriac.enqueue.transactions import enqueue_in
from celeriac.errors import BadArgument
from celeriac.headers import STAMP
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep.worker_rows import WorkerStart, sign_on
from celeriac.ledger.writes import claims, outcomes
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.operate.job import cancel, job, jobs
from celeriac.settings.platform import Settings
from celeriac.worker.counters import Meter
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.turn import Turn
from celeriac.worker.gate.turn_callbacks import TurnCallbacks
from celeriac.worker.gate.turn_input import TurnInput
from celeriac.worker.watermarks import Watermarks
from tests.apps import build

WORKER = UUID(int=7)

#: Whether a chain that was applied keeps the id of its last step. Before, a chord kept those of its members.
KEEPS_THE_END = celery.VERSION >= (5, 7)


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    settings = Settings(broker_url=redis_url, database_url=database_url, task_modules=("tests.jobs",))
    made: Celeriac = build(settings, set_as_current=False)
    with closing(made.database), closing(made):
        yield made


@pytest.fixture
def echo(app: Celeriac) -> Any:
    return app.tasks["tests.echo"]


@pytest.fixture
def session(app: Celeriac) -> Iterator[Session]:
    engine = create_engine(app.settings.database)
    with Session(engine) as session:
        yield session
    engine.dispose()


class Gate:
    """What a worker draws from the queue ``normal``, claims, and would run."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._won: list[Any] = []
        self.book = ClaimBook()
        self._turn = Turn(
            app.database,
            worker=WORKER,
            book=self.book,
            tasks=app.tasks,
            max_tries=5,
            watermarks=Watermarks(10.0),
            callbacks=TurnCallbacks(
                hand_over=self._won.extend,
                drop=lambda _: None,
                fetch_results=lambda _: {},
                on_change=lambda: None,
            ),
            meter=Meter(),
        )
        start = WorkerStart(
            id=WORKER, hostname="here", pid=1, pool="solo", concurrency=1, queues=[], tasks="", version=""
        )
        with app.database.transaction() as connection:
            sign_on(connection, start)

    def drawn(self) -> list[bytes]:
        """The messages that lie there, the first to be drawn first; they are gone then."""
        with self._app.connection_for_read() as connection:
            client = connection.default_channel.client
            found: list[bytes] = client.lrange("normal", 0, -1)
            client.delete("normal")
        return found[::-1]

    def ran(self, texts: list[bytes]) -> list[Any]:
        """The positional arguments with which these messages run."""
        with self._app.connection_for_read() as connection:
            channel = connection.default_channel
            for text in texts:
                message = Message(parse(text, "normal"), channel=channel)
                self._turn.take(TurnInput(arrived=[message]), claim_limit=1)
        for message in self._won:
            message.accept = {"application/json"}
        ran = [message.decode()[0] for message in self._won]
        self._won.clear()
        return ran


@pytest.fixture
def gate(app: Celeriac) -> Gate:
    return Gate(app)


def _untagged(text: bytes) -> bytes:
    """A message as an older version sends it."""
    message = json.loads(text)
    message["headers"][STAMP] = {"dispatch": message["headers"][STAMP]["dispatch"]}
    return json.dumps(message).encode()


# ---- a message and its row


@pytest.mark.parametrize("name", ["idempotency_key", "task_id"])
def test_a_message_of_a_savepoint_that_was_rolled_back_is_not_the_next_rows(
    echo: Any, gate: Gate, session: Session, name: str
) -> None:
    same = {name: str(uuid4())}
    with enqueue_in(session, app=echo.app):
        echo.delay("first")  # on SQLite, savepoints alone begin nothing
        with pytest.raises(LookupError), session.begin_nested():
            echo.apply_async(("rolled back",), **same)
            raise LookupError
        echo.apply_async(("committed",), **same)
        session.commit()
    assert gate.ran(gate.drawn()) == [["first"], ["committed"]]


def test_a_message_of_a_row_that_was_deleted_is_not_the_next_rows(
    app: Celeriac, echo: Any, gate: Gate
) -> None:
    id = echo.apply_async(("deleted",), idempotency_key="k").id
    with app.database.transaction() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.id == UUID(id)))
    old = gate.drawn()
    echo.apply_async(("now",), idempotency_key="k")
    assert gate.ran(old + gate.drawn()) == [["now"]]


def test_a_message_of_a_bulk_is_not_the_next_rows(app: Celeriac, echo: Any, gate: Gate) -> None:
    enqueue_many(echo, [["a"], ["deleted"]])
    old = gate.drawn()
    (id,) = [UUID(found.id) for found in jobs(app=app) if found.args == ["deleted"]]
    with app.database.transaction() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.id == id))
    echo.apply_async(("now",), task_id=str(id))
    assert gate.ran(old) == [["a"], ["now"]]


def test_many_messages_are_their_rows_own(app: Celeriac, echo: Any, gate: Gate) -> None:
    """Or every job of a bulk would be read once more."""
    enqueue_many(echo, [["a"], ["b"]])
    enqueue_many(echo, [Call(["c"], idempotency_key="c"), Call(["d"], {"x": 1})])
    texts = gate.drawn()
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).values(payload=b"[]"))  # what would be read
    assert gate.ran(texts) == [["a"], ["b"], ["c"], ["d"]]


def test_an_old_copy_does_not_run_what_a_retry_has_changed(app: Celeriac, echo: Any, gate: Gate) -> None:
    id = UUID(echo.delay("before").id)
    copy = gate.drawn()
    assert gate.ran(copy) == [["before"]]
    with capture_jobs() as made:
        echo.apply_async(("after",), task_id=str(id))
    failure = Failure(AttemptKind.ERROR, "ValueError")
    outcome = Outcome(id=id, attempt=1, state=JobState.ERROR, failure=failure, message=made[0])
    with app.database.transaction() as connection:
        outcomes.record(connection, [outcome], worker=WORKER)
    gate.book.leave(id)
    assert gate.ran(copy) == [["after"]]


def test_a_message_of_an_older_version_is_known_by_its_count(app: Celeriac, echo: Any, gate: Gate) -> None:
    echo.delay("ours")
    (text,) = gate.drawn()
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).values(message_tag=None, payload=b"[]"))
    assert gate.ran([_untagged(text)]) == [["ours"]]


def test_a_message_of_an_older_version_runs_what_its_row_says(app: Celeriac, echo: Any, gate: Gate) -> None:
    echo.delay("ours")
    (text,) = gate.drawn()
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).values(payload=b'[["the row\'s"], {}, {}]'))
    assert gate.ran([_untagged(text)]) == [["the row's"]]


# ---- a key that is used again

DAY = 86_400
ANEW: dict[str, Any] = {
    "countdown": DAY,
    "expires": 2 * DAY,
    "priority": "high",
    "max_tries": 3,
    "timeout": 7,
    "user_id": "u",
}


def _call(echo: Any, session: Session, key: str) -> None:
    echo.apply_async(("again",), idempotency_key=key, **ANEW)


def _in_a_block(echo: Any, session: Session, key: str) -> None:
    with enqueue_in(session, app=echo.app):
        _call(echo, session, key)
    session.commit()


def _by_option(echo: Any, session: Session, key: str) -> None:
    echo.apply_async(("again",), idempotency_key=key, session=session, **ANEW)
    session.commit()


def _in_bulk(echo: Any, session: Session, key: str) -> None:
    assert enqueue_many(echo, [["other"], Call(["again"], idempotency_key=key)], **ANEW) == 1


def _in_a_bulk_of_a_session(echo: Any, session: Session, key: str) -> None:
    calls = [["other"], Call(["again"], idempotency_key=key)]
    assert enqueue_many(echo, calls, session=session, **ANEW) == 1
    session.commit()


def _together(echo: Any, session: Session, key: str) -> None:
    with enqueue_together(app=echo.app):
        _call(echo, session, key)
        echo.delay("other")


WAYS = [_call, _in_a_block, _by_option, _in_bulk, _in_a_bulk_of_a_session, _together]


def _brought_to(app: Celeriac, id: UUID, state: JobState) -> None:
    if state is JobState.PENDING:
        return
    if state is JobState.CANCELLED:
        cancel(str(id), app=app)
        return
    with app.database.transaction() as connection:
        assert claims.claim(connection, [id], worker=WORKER)[id].attempt == 1
        if state is not JobState.RUNNING:
            failure = None if state is JobState.COMPLETED else Failure(AttemptKind.ERROR, "ValueError")
            ended = Outcome(id=id, attempt=1, state=state, failure=failure)
            assert outcomes.record(connection, [ended], worker=WORKER) == {id: state}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_key_of_a_job_that_was_given_up_makes_it_anew_as_the_call_says(
    app: Celeriac, echo: Any, gate: Gate, session: Session, state: JobState, way: Any
) -> None:
    id = UUID(echo.apply_async(("first",), idempotency_key="k").id)
    _brought_to(app, id, state)
    way(echo, session, "k")
    found = job(str(id), app=app)
    assert (found.state, found.args, found.queue, found.priority) == (JobState.PENDING, ["again"], "high", 20)
    assert (found.timeout, found.user_id, found.idempotency_key) == (7, "u", "k")
    assert found.max_tries == found.try_count + 3
    assert (found.finished, found.dispatched) == (None, None)
    now = datetime.now(UTC)
    assert (found.next_attempt_after - now).total_seconds() == pytest.approx(DAY, abs=600)
    assert found.expires is not None
    assert (found.expires - now).total_seconds() == pytest.approx(2 * DAY, abs=600)
    assert len(found.attempts) == (state is JobState.FAILED)  # the history stays


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", [JobState.PENDING, JobState.RUNNING, JobState.ERROR, JobState.COMPLETED])
def test_a_key_of_a_job_that_lives_or_is_done_leaves_it_as_it_is(
    app: Celeriac, echo: Any, gate: Gate, session: Session, state: JobState, way: Any
) -> None:
    id = UUID(echo.apply_async(("first",), idempotency_key="k").id)
    _brought_to(app, id, state)
    before = job(str(id), app=app)
    way(echo, session, "k")
    assert job(str(id), app=app) == before


def test_a_job_that_was_made_anew_runs_with_its_own_arguments(app: Celeriac, echo: Any, gate: Gate) -> None:
    id = UUID(echo.apply_async(("first",), idempotency_key="k").id)
    old = gate.drawn()
    cancel(str(id), app=app)
    echo.apply_async(("again",), idempotency_key="k")
    assert gate.ran(old) == [["again"]]


def test_a_key_does_not_release_a_job_that_waits_for_what_replaced_it(app: Celeriac, echo: Any) -> None:
    id = UUID(echo.apply_async(("first",), idempotency_key="k").id)
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).values(next_attempt_after=PARKED, dispatched=None))
    before = job(str(id), app=app)
    echo.apply_async(("again",), idempotency_key="k")
    assert job(str(id), app=app) == before


@pytest.mark.parametrize("where", ["group", "chain", "later in a chain", "header", "body", "link", "task_id"])
def test_a_key_beside_an_id_of_a_canvas_is_refused_by_name(app: Celeriac, echo: Any, where: str) -> None:
    keyed, plain = echo.s(1).set(idempotency_key="k"), echo.s(2)
    calls: dict[str, Any] = {
        "group": lambda: group([plain, keyed])(),
        "chain": lambda: chain(keyed, plain)(),
        "later in a chain": lambda: chain(plain, group([plain, chain(plain, keyed)]))(),
        "header": lambda: chord([plain, keyed], plain)(),
        "body": lambda: chord([plain, plain], keyed)(),
        "link": lambda: echo.apply_async((1,), link=keyed),
        "task_id": lambda: echo.apply_async((1,), task_id=str(uuid4()), idempotency_key="k"),
    }
    with pytest.raises(BadArgument, match="idempotency_key: "):
        calls[where]()
    assert [found for found in jobs(app=app) if found.state is not JobState.FAILED] == []
    if where == "header":
        (body,) = jobs(app=app)
        assert body.failure_info is not None
        assert "a dependency was refused: idempotency_key: " in body.failure_info


def test_the_id_that_follows_from_a_key_may_stand_beside_it(app: Celeriac, echo: Any) -> None:
    id = echo.apply_async((1,), idempotency_key="k").id
    assert echo.apply_async((1,), idempotency_key="k", task_id=id).id == id


# ---- an id that is used again


@pytest.mark.parametrize("way", ["call", "block", "bulk"])
def test_an_id_of_another_message_is_refused_and_nothing_is_written(
    app: Celeriac, echo: Any, session: Session, way: str
) -> None:
    id = echo.delay("first").id
    with pytest.raises(
        BadArgument, match=f"task_id: job {id} exists, of tests.echo, and says something else"
    ):
        if way == "call":
            echo.apply_async(("other",), task_id=id)
        elif way == "block":
            echo.apply_async(("other",), task_id=id, session=session)
        else:
            enqueue_many(echo, [["new"], Call(["other"], options={"task_id": id})])
    session.rollback()
    (found,) = jobs(app=app)
    assert found.args == ["first"]


def test_the_same_call_with_the_same_id_is_the_same_job(app: Celeriac, echo: Any) -> None:
    """As after EnqueueUncertain."""
    id = echo.apply_async(("first",), compression="zlib").id
    assert echo.apply_async(("first",), task_id=id).id == id
    assert enqueue_many(echo, [["new"], Call(["first"], options={"task_id": id})]) == 1
    assert len(jobs(app=app)) == 2


def test_members_that_a_generator_makes_are_written_together(app: Celeriac, echo: Any) -> None:
    seen: list[int] = []

    def members() -> Iterator[Any]:
        for number in range(3):
            seen.append(sum(found.args == [number - 1] for found in jobs(app=app)))
            yield echo.s(number)

    chord(members(), echo.s()).apply_async()
    assert seen == [0, 0, 0], "none is there while the next one is made"
    assert len(jobs(app=app)) == 4


@pytest.mark.parametrize("canvas", ["chord", "chain", "group in a chord"])
def test_a_frozen_signature_that_is_applied_twice_is_refused_and_not_waited_for(
    app: Celeriac, echo: Any, canvas: str
) -> None:
    frozen = echo.s(1)
    frozen.freeze()
    build: dict[str, Any] = {
        "chord": lambda: chord([frozen, echo.s(2)], echo.s()),
        "chain": lambda: chain(frozen, echo.s()),
        "group in a chord": lambda: chord([group([frozen, echo.s(2)]), echo.s(3)], echo.s()),
    }
    build[canvas]()()
    before = {found.id for found in jobs(app=app)}
    with pytest.raises(BadArgument, match="a signature that was frozen keeps its id"):
        build[canvas]()()
    left = [found for found in jobs(app=app) if found.id not in before]
    assert [found.state for found in left] == ([] if canvas == "chain" else [JobState.FAILED])


@pytest.mark.parametrize("last", ["task", "chord"])
def test_a_chain_that_is_applied_twice_is_refused_since_its_last_step_would_run_once(
    app: Celeriac, echo: Any, last: str
) -> None:
    steps = [echo.s(2)] if last == "task" else [group([echo.s(2), echo.s(3)]), echo.s(4)]
    made = chain(echo.s(1), *steps)
    for copy in (made.clone(), made.clone()):
        copy()
    first = made()
    if KEEPS_THE_END:
        with pytest.raises(BadArgument, match=r"chain: it was applied before, .* apply a clone\(\) of it"):
            made()
    else:
        assert made().id != first.id, "each has an end of its own"
    assert len(jobs(app=app)) == (3 if KEEPS_THE_END else 4)


@pytest.mark.parametrize("canvas", ["chord", "group", "signature"])
def test_a_canvas_that_was_not_frozen_is_applied_as_often_as_one_likes(
    app: Celeriac, echo: Any, canvas: str
) -> None:
    """A chord only from Celery 5.7 on: before, the members of its first application stay in it."""
    made: dict[str, Any] = {
        "chord": chord([echo.s(1), echo.s(2)], echo.s()),
        "group": group([echo.s(1), echo.s(1)]),
        "signature": echo.s(1),
    }
    first = made[canvas].apply_async()
    if canvas == "chord" and not KEEPS_THE_END:
        with pytest.raises(BadArgument, match=r"exists.* apply a clone\(\)"):
            made[canvas].apply_async()
        (refused,) = {found.id for found in jobs(app=app) if found.state is JobState.FAILED}
        assert refused != first.id, "nobody waits for its body"
        return
    second = made[canvas].apply_async()
    assert first.id != second.id
    count = {"chord": 3, "group": 2, "signature": 1}[canvas]
    assert len(jobs(app=app)) == 2 * count


@contextmanager
def attempt(echo: Any, *, runs: bool, id: str | None = None) -> Iterator[None]:
    """What is enqueued in here is enqueued by an attempt: by the task's code, or by Celery after it."""
    request = {"called_directly": False, "is_eager": False, "retries": 0, RUNS: runs}
    echo.push_request(id=id or str(uuid4()), **request)
    push_current_task(echo)
    try:
        yield
    finally:
        pop_current_task()
        echo.pop_request()


def test_what_follows_an_attempt_is_sent_again_with_another_result(app: Celeriac, echo: Any) -> None:
    id = echo.delay("first").id
    with attempt(echo, runs=False):
        assert echo.apply_async(("other",), task_id=id).id == id
    with attempt(echo, runs=True), pytest.raises(BadArgument, match="exists"):
        echo.apply_async(("other",), task_id=id)
    (found,) = jobs(app=app)
    assert found.args == ["first"]


def test_a_later_attempt_repeats_what_an_earlier_one_enqueued(app: Celeriac, echo: Any) -> None:
    with attempt(echo, runs=True):
        id = echo.delay("first").id
        assert echo.apply_async(("other",), task_id=id).id == id
    (found,) = jobs(app=app)
    assert found.args == ["first"]


def test_the_steps_of_a_chain_may_send_its_last_one_again(app: Celeriac, echo: Any) -> None:
    made = chain(echo.s(1), echo.s(2), echo.s(3))()
    (first,) = jobs(app=app)
    rest = [echo.s(3).set(task_id=made.id)]
    with attempt(echo, runs=False):
        echo.apply_async((2,), chain=rest)  # Celery sends the next step
    with attempt(echo, runs=True, id=first.id), capture_jobs() as again:
        echo.apply_async((1,), task_id=first.id, chain=rest)  # and the first is retried here
    assert [str(found.id) for found in again] == [first.id]


def test_a_step_that_replaces_itself_goes_on_to_the_same_last_step(app: Celeriac, echo: Any) -> None:
    """Celery appends what followed the step to what replaces it."""
    made = chain(echo.s(1), echo.s(2), echo.s(3))()
    (first,) = jobs(app=app)
    rest = [echo.s(3).set(task_id=made.id), echo.s(2)]
    replaces = chain(echo.s(4), echo.s(5), *reversed(rest))
    with attempt(echo, runs=True), capture_jobs(), pytest.raises(BadArgument, match="applied before"):
        replaces.apply_async()
    with attempt(echo, runs=True, id=first.id), capture_jobs() as found:
        echo.request.chain = rest
        replaces.apply_async()
    assert len(found) == 1


def test_a_later_attempt_replaces_itself_by_a_chain_again(app: Celeriac, echo: Any) -> None:
    id = str(uuid4())
    for _ in range(2):
        with attempt(echo, runs=True, id=id), capture_jobs():
            chain(echo.s(1), echo.s(2)).apply_async(task_id=id)
    with attempt(echo, runs=True), capture_jobs(), pytest.raises(BadArgument, match="applied before"):
        chain(echo.s(1), echo.s(2)).apply_async(task_id=id)
