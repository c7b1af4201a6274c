"""What ``.get()`` says: the result store first, then the ledger, and never None for a value that is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import pytest
import redis
from celery import group
from celery.exceptions import Ignore
from celery.result import AsyncResult, ResultSet
from sqlalchemy import insert

from celeriac import retention
from celeriac.application import Celeriac
from celeriac.errors import ResultLost, UnreadableError
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.operate.job import Job, job
from celeriac.settings.platform import Settings
from celeriac.testing.drain import Drain
from celeriac.testing.kit import NoBroker
from tests import stock
from tests.apps import build
from tests.servers import ValkeyServer
from tests.support import wait_until

SOON = 10  # seconds: far more than what is there already takes


class OrderRefused(Exception):  # as authors call theirs
    """An exception of the author's own."""


class Picky(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one, two)


class Raises:
    error: Exception


@contextmanager
def furnished(store: str, database: str) -> Iterator[Celeriac]:
    settings: dict[str, Any] = {"broker_url": store, "database_url": database, "task_modules": ()}
    app = build(Settings(**settings, max_tries=1), set_as_current=False)
    app.broker_state = NoBroker()  # what is due is drained from the ledger

    @app.task(name="tests.value", shared=False)
    def value(given: Any) -> Any:
        return given

    @app.task(name="tests.refuse", shared=False)
    def refuse(text: str) -> NoReturn:
        raise OrderRefused(text)

    @app.task(name="tests.raises", shared=False)
    def raises() -> NoReturn:
        raise Raises.error

    @app.task(name="tests.nothing_to_say", shared=False)
    def nothing_to_say() -> NoReturn:
        raise Ignore

    with closing(app):
        yield app


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    with furnished(redis_url, database_url) as app:
        yield app


@pytest.fixture
def small_app(redis_url: str, sqlite_url: str) -> Iterator[Celeriac]:
    with furnished(redis_url, sqlite_url) as app:
        yield app


def drain(app: Celeriac) -> None:
    app.set_current()  # of this thread, as in a child
    Drain(app).run(limit=100)


def run(app: Celeriac, task: str, *args: Any, **options: Any) -> AsyncResult[Any]:
    """The result of a job that has ended."""
    result = app.send_task(task, args, **options)
    drain(app)
    assert row(app, result).is_terminal
    return app.AsyncResult(result.id)


def row(app: Celeriac, result: AsyncResult[Any]) -> Job:
    return job(result.id, app=app)


def flush(app: Celeriac) -> None:
    with closing(redis.Redis.from_url(str(app.conf.broker_url))) as client:
        client.flushdb()


def forgets_at_once(app: Celeriac, task: str) -> None:
    """Let the result store forget everything as soon as the task's result is stored."""
    type(app.tasks[task]).on_success = lambda *_: flush(app)


# ---- a value that the store does not take, or forgets


@pytest.mark.parametrize("given", [7, None, {"when": timedelta(0).total_seconds()}, "ü" * 3])
def test_a_value_that_the_store_does_not_take_travels_to_the_row(
    private_valkey: ValkeyServer, database_url: str, given: Any
) -> None:
    with furnished(private_valkey.url(), database_url) as app:
        private_valkey.kill()
        result = run(app, "tests.value", given)
        assert (row(app, result).result, row(app, result).result_lost) == (given, False)
        assert result.get(timeout=SOON) == given
        private_valkey.restart()
        assert app.AsyncResult(result.id).get(timeout=SOON) == given


def test_a_value_that_the_store_forgot_before_it_was_copied_is_said_to_be_lost(app: Celeriac) -> None:
    forgets_at_once(app, "tests.value")
    result = run(app, "tests.value", 7)
    found = row(app, result)
    assert (found.state, found.result, found.result_lost) == (JobState.COMPLETED, None, True)
    for ask in (app.AsyncResult(result.id), AsyncResult(result.id, app=app)):
        with pytest.raises(ResultLost, match=f"job {result.id} is completed and its return value is lost"):
            ask.get(timeout=SOON)
    with pytest.raises(ResultLost):
        ResultSet([app.AsyncResult(result.id)], app=app).get(timeout=SOON)
    assert isinstance(app.AsyncResult(result.id).get(timeout=SOON, propagate=False), ResultLost)


def test_nothing_is_lost_where_nothing_was_returned(small_app: Celeriac) -> None:
    for task, args, options in (
        ("tests.value", [None], {}),
        ("tests.value", [7], {"ignore_result": True}),
        ("tests.nothing_to_say", [], {}),
    ):
        result = run(small_app, task, *args, **options)
        flush(small_app)
        assert (row(small_app, result).result_lost, result.get(timeout=SOON)) == (False, None)


def test_a_copy_that_is_not_kept_any_longer_is_lost(app: Celeriac) -> None:
    result = run(app, "tests.value", 7)
    flush(app)
    assert app.AsyncResult(result.id).get(timeout=SOON) == 7
    for expected in (1, 0):  # the second time, there is nothing left to forget
        days = timedelta(days=7)
        gone = retention.prune(
            retention=retention.Retention(done=days, dead=days, results=timedelta(0)), app=app
        )
        assert gone["results"] == expected
    # In another process: Celery before 5.7 may keep what this one was told.
    with (
        furnished(str(app.conf.broker_url), app.settings.database_url) as other,
        pytest.raises(ResultLost),
    ):
        other.AsyncResult(result.id).get(timeout=SOON)


# ---- groups


def ended(app: Celeriac, *members: Any) -> Any:
    """A group whose members have ended; nobody has asked for a result yet."""
    result = group(members, app=app).apply_async()
    drain(app)
    return result


@pytest.mark.parametrize("asked", [False, True], ids=["the store answers", "the ledger is asked first"])
@pytest.mark.parametrize("kind", ["the group", "a set", "a set of ids"])
def test_a_members_own_exception_is_raised(app: Celeriac, kind: str, asked: bool) -> None:
    sign: Callable[..., Any] = app.signature
    result = ended(
        app, sign("tests.value", (1,)), sign("tests.refuse", ("no money",)), sign("tests.value", (2,))
    )
    if kind == "a set":
        result = ResultSet(result.results, app=app)
    elif kind == "a set of ids":
        result = ResultSet([app.AsyncResult(member.id) for member in result.results], app=app)
    if asked:  # whoever waits looks into the ledger every few seconds, and once at the beginning
        app.backend.result_consumer.drain_events(timeout=0.01)
    with pytest.raises(OrderRefused, match="no money"):
        result.get(timeout=SOON)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OrderRefused("no money"), OrderRefused),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "no money"), UnreadableError),
        (Picky("no", "money"), UnreadableError),
    ],
    ids=["its own class", "a class that wants more", "a class of ours that wants more"],
)
def test_an_exception_that_the_store_lacks_is_rebuilt_where_it_can_be(
    small_app: Celeriac, error: Exception, kind: type[Exception]
) -> None:
    Raises.error = error
    result = run(small_app, "tests.raises")
    flush(small_app)
    with pytest.raises(kind, match="money"):
        small_app.AsyncResult(result.id).get(timeout=SOON)


def test_what_the_store_lacks_of_a_group_is_answered_from_the_ledger(app: Celeriac) -> None:
    result = ended(app, *(app.signature("tests.value", (number,)) for number in range(3)))
    with closing(redis.Redis.from_url(str(app.conf.broker_url))) as client:
        client.delete(f"celery-task-meta-{result.results[1].id}")
    assert result.get(timeout=SOON) == [0, 1, 2]


def test_a_groups_results_are_had_in_another_thread(small_app: Celeriac) -> None:
    result = ended(small_app, *(small_app.signature("tests.value", (number,)) for number in range(2)))
    assert in_threads(1, lambda: result.get(timeout=SOON)) == [[0, 1]]


def test_threads_that_wait_leave_no_connections_behind(small_app: Celeriac) -> None:
    results = [small_app.send_task("tests.value", (number,)) for number in range(20)]
    with closing(redis.Redis.from_url(str(small_app.conf.broker_url))) as client:
        waiting = threading.Thread(target=drain, args=(small_app,))
        got = in_threads(20, lambda: results.pop().get(timeout=60), meanwhile=waiting.start)
        waiting.join()
        assert sorted(got) == list(range(20))
        before = len(client.client_list())
        asked = [small_app.send_task("tests.value", (number,)) for number in range(20)]
        drain(small_app)
        for result in asked:
            in_threads(1, lambda result=result: small_app.AsyncResult(result.id).get(timeout=SOON))
        assert len(client.client_list()) <= before


def test_an_app_that_is_closed_has_no_connection_to_the_result_store(
    private_valkey: ValkeyServer, sqlite_url: str
) -> None:
    with (
        furnished(private_valkey.url(), sqlite_url) as app,
        closing(redis.Redis.from_url(private_valkey.url())) as client,
    ):
        for expected in (1, 2):  # closed, it connects again at its next use
            assert run(app, "tests.value", expected).get(timeout=SOON) == expected
            assert len(client.client_list()) > 1
            app.close()
            saying = "the connections to the store are closed"
            wait_until(lambda: len(client.client_list()) == 1, within=SOON, saying=saying)


def in_threads(
    count: int, ask: Callable[[], Any], meanwhile: Callable[[], object] | None = None
) -> list[Any]:
    """What ``ask`` returns, or raises, in each of so many threads."""
    found: list[Any] = []

    def note() -> None:
        try:
            found.append(ask())
        except Exception as exc:
            found.append(exc)

    threads = [threading.Thread(target=note) for _ in range(count)]
    for thread in threads:
        thread.start()
    if meanwhile:
        meanwhile()
    for thread in threads:
        thread.join(90)
    return found


# ---- a job that runs


@pytest.mark.parametrize(
    ("setting", "own", "state"),
    [(False, None, "PENDING"), (True, None, "STARTED"), (False, True, "STARTED"), (True, False, "PENDING")],
)
def test_a_running_job_is_started_for_those_who_asked_to_see_it(
    app: Celeriac, setting: bool, own: bool | None, state: str
) -> None:
    """Code that polls `while result.state == "PENDING"` is written for Celery's default."""
    app.conf.task_track_started = setting

    @app.task(name="tests.seen", shared=False, track_started=own)
    def seen() -> None:
        raise AssertionError("it is not run here")

    running = stock.running(job_type="tests.seen")
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [running])
    assert app.AsyncResult(str(running["id"])).state == state


def test_a_result_that_somebody_waited_for_is_forgotten_when_it_is_collected(small_app: Celeriac) -> None:
    """Nobody's is not looked for: most results are never asked."""
    store, result = small_app.backend, small_app.AsyncResult("waited for")
    store.add_pending_result(result)
    assert any(result.id in waiting for waiting in store._pending_results)
    assert store.remove_pending_result(result) is result
    assert not any(result.id in waiting for waiting in store._pending_results)
    assert store.remove_pending_result(result) is result
