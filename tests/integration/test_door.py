"""The door in: what a call becomes in ledger and broker, what it refuses, and how soon it answers."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from celery.result import AsyncResult
from sqlalchemy import text

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.enqueue.arguments import Secret
from celeriac.errors import BadArgument, EnqueueUncertain, LedgerUnavailable, PayloadTooLarge, UnknownTask
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job, job, jobs
from celeriac.priorities import QUEUES
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.servers import PostgresServer, ValkeyServer
from tests.support import wait_until, waited_for_a_cpu

SOON = 2.0  # seconds: what P10 promises


class House:
    """A producer, and eyes for its ledger and its broker."""

    def __init__(self, broker: str, database: str, **settings: Any) -> None:
        known: dict[str, Any] = {"broker_url": broker, "database_url": database}
        self.app: Celeriac = build(
            Settings(**known, task_modules=("tests.jobs",), **settings), set_as_current=False
        )
        self.broker = broker

    def send(self, task: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        return self.app.tasks[f"tests.{task}"].apply_async(args, **options)

    def job(self, result: AsyncResult[Any]) -> Job:
        return job(result.id, app=self.app)

    def jobs(self) -> list[Job]:
        return jobs(app=self.app)

    def messages(self) -> dict[str, list[dict[str, Any]]]:
        """What lies in the broker, by queue."""
        with closing(redis.Redis.from_url(self.broker)) as client:
            return {
                queue: [json.loads(item) for item in found]
                for queue in QUEUES
                if (found := client.lrange(queue, 0, -1))
            }

    def nothing_happened(self) -> bool:
        return not self.jobs() and not self.messages()

    def close(self) -> None:
        self.app.close()


@contextmanager
def furnished(broker: str, database: str, **settings: Any) -> Iterator[House]:
    with closing(House(broker, database, **settings)) as house:
        yield house


@pytest.fixture
def house(redis_url: str, database_url: str) -> Iterator[House]:
    with furnished(redis_url, database_url) as house:
        yield house


@pytest.fixture
def small_house(redis_url: str, sqlite_url: str) -> Iterator[House]:
    """On one database: for what is refused before any is asked."""
    with furnished(redis_url, sqlite_url) as house:
        yield house


# ---- what a call becomes


def test_a_call_is_a_row_and_a_message(house: House) -> None:
    result = house.send("add", 1, 2)
    found = house.job(result)
    assert (found.task, found.state, found.queue, found.priority) == (
        "tests.add",
        JobState.PENDING,
        "normal",
        10,
    )
    assert (found.args, found.kwargs, found.try_count, found.max_tries) == ([1, 2], {}, 0, 5)
    assert found.dispatched is not None
    (message,) = house.messages()["normal"]
    assert (message["headers"]["id"], message["headers"]["task"]) == (result.id, "tests.add")
    assert UUID(result.id).version == 7


@pytest.mark.parametrize(
    ("options", "queue", "priority"),
    [
        ({}, "normal", 10),
        ({"priority": "low"}, "low", 0),
        ({"priority": "High"}, "high", 20),
        ({"priority": "critical"}, "critical", 30),
        ({"priority": 0}, "low", 0),
        ({"priority": 9}, "low", 9),
        ({"priority": 10}, "normal", 10),
        ({"priority": 29}, "high", 29),
        ({"priority": 100}, "critical", 100),
        ({"queue": "critical"}, "critical", 30),
        ({"queue": "low", "priority": 99}, "low", 99),
    ],
    ids=str,
)
def test_a_priority_is_a_queue(house: House, options: Mapping[str, Any], queue: str, priority: int) -> None:
    found = house.job(house.send("add", 1, 2, **options))
    assert (found.queue, found.priority) == (queue, priority)
    assert list(house.messages()) == [queue]


def test_options_of_the_call(house: House) -> None:
    result = house.send("add", 1, 2, max_tries=9, timeout=12.5, user_id="ada", expires=60)
    found = house.job(result)
    assert (found.max_tries, found.timeout, found.user_id) == (9, 12.5, "ada")
    assert found.expires is not None
    assert abs((found.expires - found.queued).total_seconds() - 60) < 0.1
    (message,) = house.messages()["normal"]
    assert message["headers"]["timelimit"] == [22.5, 12.5]
    assert message["headers"]["expires"] is None  # the row keeps it


def test_options_of_the_task_and_the_call_that_overrules_them(house: House) -> None:
    found = house.job(house.send("limited", 1))
    assert (found.queue, found.max_tries, found.timeout) == ("high", 2, 1)
    found = house.job(house.send("limited", 1, priority="low", max_tries=3, timeout=4))
    assert (found.queue, found.max_tries, found.timeout) == ("low", 3, 4)
    assert house.job(house.send("retry_for_ever")).max_tries == 3  # max_retries=2


def test_celerys_own_time_limits(house: House) -> None:
    found = house.job(house.send("add", 1, 2, soft_time_limit=5, time_limit=7))
    assert found.timeout == 5
    (message,) = house.messages()["normal"]
    assert message["headers"]["timelimit"] == [7, 5]


@pytest.mark.parametrize(
    ("eta", "due"),
    [
        (datetime(2100, 1, 1, 12), datetime(2100, 1, 1, 12, tzinfo=UTC)),  # naive: read as UTC
        (datetime(2100, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2100, 1, 1, 10, tzinfo=UTC)),
        (datetime(8999, 12, 31, tzinfo=UTC), datetime(8999, 12, 31, tzinfo=UTC)),
    ],
    ids=["naive", "aware", "far"],
)
def test_an_eta_waits_in_the_ledger(house: House, eta: datetime, due: datetime) -> None:
    found = house.job(house.send("add", 1, 2, eta=eta))
    assert (found.next_attempt_after, found.dispatched) == (due, None)
    assert not house.messages()


def test_a_countdown_of_ages_ago_is_due_now(house: House) -> None:
    found = house.job(house.send("add", 1, 2, countdown=-1e300))
    assert found.state is JobState.PENDING
    assert found.next_attempt_after < datetime.now(UTC)


def test_a_countdown_is_counted_by_the_database(house: House) -> None:
    found = house.job(house.send("add", 1, 2, countdown=90))
    assert abs((found.next_attempt_after - found.queued).total_seconds() - 90) < 0.1
    assert not house.messages()


def test_a_naive_expiry_is_read_as_utc(house: House) -> None:
    found = house.job(house.send("add", 1, 2, expires=datetime(2100, 1, 1)))
    assert found.expires == datetime(2100, 1, 1, tzinfo=UTC)


def test_text_that_databases_refuse_comes_back_as_it_is(house: House) -> None:
    nasty = "nul \x00, lone surrogate \ud800, end"
    found = house.job(house.send("echo", nasty, kwargs={"key \x00": nasty}))
    assert (found.args, found.kwargs) == ([nasty], {"key \x00": nasty})


def test_types_that_travel(house: House) -> None:
    given = [datetime(2026, 1, 1, tzinfo=UTC), uuid4(), b"bytes", -1, 1.5, None, True, "ü"]
    assert house.job(house.send("echo", *given)).args == given


def test_asyncio(house: House) -> None:
    async def produce() -> list[str]:
        task = house.app.tasks["tests.add"]
        return [result.id for result in await asyncio.gather(*(task.adelay(n, y=1) for n in range(5)))]

    ids = asyncio.run(produce())
    assert sorted(ids) == sorted(found.id for found in house.jobs())
    assert len(house.messages()["normal"]) == 5


# ---- one job, however often it is asked for


def test_an_idempotency_key_is_one_job(house: House) -> None:
    first, second = (house.send("add", 1, y, idempotency_key="order 7") for y in (1, 2))
    assert first.id == second.id
    (found,) = house.jobs()
    assert (found.args, found.idempotency_key) == ([1, 1], "order 7")
    assert len(house.messages()["normal"]) == 1
    assert house.send("echo", idempotency_key="order 7").id != first.id  # another task's


def test_a_key_of_a_finished_job_runs_nothing(house: House) -> None:
    first = house.send("add", 1, 1, idempotency_key="order 7")
    _finish(house, JobState.COMPLETED)
    assert house.send("add", 1, 1, idempotency_key="order 7").id == first.id
    assert house.job(first).state is JobState.COMPLETED
    assert len(house.messages()["normal"]) == 1


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_key_of_a_job_that_came_to_nothing_replays_it(house: House, state: JobState) -> None:
    first = house.send("add", 1, 1, idempotency_key="order 7")
    _finish(house, state)
    assert house.send("add", 1, 1, idempotency_key="order 7").id == first.id
    found = house.job(first)
    assert (found.state, found.try_count, found.max_tries) == (JobState.PENDING, 2, 7)
    assert len(house.jobs()) == 1


def _finish(house: House, state: JobState) -> None:
    with house.app.database.transaction() as connection:
        connection.execute(
            text("UPDATE background_jobs SET state = :state, finished = queued, try_count = 2"),
            {"state": str(state)},
        )


def test_a_task_id_that_is_used_again_for_the_same_is_no_op(house: House) -> None:
    id = str(uuid4())
    assert [house.send("add", 1, 1, task_id=id).id for _ in range(2)] == [id, id]
    (found,) = house.jobs()
    assert found.args == [1, 1]
    assert len(house.messages()["normal"]) == 1


# ---- what is refused


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def _deep(levels: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(levels):
        deep = [deep]
    return deep


REFUSED: dict[str, tuple[str, Mapping[str, Any]]] = {
    "an unknown priority": ("priority", {"priority": "urgent"}),
    "a priority below 0": ("priority", {"priority": -1}),
    "a priority above 100": ("priority", {"priority": 101}),
    "a priority that is a fraction": ("priority", {"priority": 1.5}),
    "a priority that is a truth": ("priority", {"priority": True}),
    "a lane that is a level": ("queue", {"queue": "high.low"}),
    "an exchange": ("exchange", {"exchange": "elsewhere"}),
    "no tries": ("max_tries", {"max_tries": 0}),
    "negative tries": ("max_tries", {"max_tries": -1}),
    "half a try": ("max_tries", {"max_tries": 1.5}),
    "a timeout of nothing": ("timeout", {"timeout": 0}),
    "a negative timeout": ("timeout", {"timeout": -1}),
    "an infinite timeout": ("timeout", {"timeout": math.inf}),
    "a timeout in words": ("timeout", {"timeout": "long"}),
    "a negative soft limit": ("soft_time_limit", {"soft_time_limit": -1}),
    "a negative hard limit": ("time_limit", {"time_limit": -1}),
    "one time limit": ("timelimit", {"headers": {"timelimit": [1]}}),
    "headers that are nested too deep": ("headers['tenant']", {"headers": {"tenant": _deep(900)}}),
    "a countdown that is no number": ("countdown", {"countdown": math.nan}),
    "a countdown in words": ("countdown", {"countdown": "soon"}),
    "a countdown of ages": ("countdown", {"countdown": 1e12}),
    "an eta beyond the year 9000": ("eta", {"eta": datetime(9000, 1, 1, tzinfo=UTC)}),
    "an eta at the end of time": ("eta", {"eta": datetime.max}),
    "an eta before the first year in UTC": (
        "eta",
        {"eta": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))},
    ),
    "a header that is no JSON": ("headers['when']", {"headers": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}),
    "a header that is NaN": ("headers['x'][0]", {"headers": {"x": [math.nan]}}),
    "a header with integers as keys": ("headers['x']", {"headers": {"x": {1: 2}}}),
    "a header of 5,000 digits": ("headers['x']", {"headers": {"x": 10**5000}}),
    "a header that is nested too deep": ("headers['x']", {"headers": {"x": _deep(900)}}),
    "an eta in words": ("eta", {"eta": "tomorrow"}),
    "an expiry beyond the year 9000": ("expires", {"expires": datetime(9000, 1, 1, tzinfo=UTC)}),
    "an expiry in words": ("expires", {"expires": "tomorrow"}),
    "a user that is too long": ("user_id", {"user_id": "u" * 256}),
    "a user without a name": ("user_id", {"user_id": ""}),
    "a user that is a number": ("user_id", {"user_id": 7}),
    "a user with a NUL": ("user_id", {"user_id": "a\x00b"}),
    "a key that is too long": ("idempotency_key", {"idempotency_key": "k" * 256}),
    "a key that is empty": ("idempotency_key", {"idempotency_key": ""}),
    "a key with a lone surrogate": ("idempotency_key", {"idempotency_key": "\ud800"}),
    "an id with control characters": ("task_id", {"task_id": "4\n2"}),
    "an id that is too long": ("task_id", {"task_id": "4" * 256}),
    "an empty id": ("task_id", {"task_id": ""}),
    "pickle": ("serializer", {"serializer": "pickle"}),
    "yaml": ("serializer", {"serializer": "yaml"}),
    "a compression that nobody knows": ("compression", {"compression": "tightly"}),
    "an object": ("args[0]", {"args": [object()]}),
    "a set inside": ("args[0]['to'][1]", {"args": [{"to": [1, {2}]}]}),
    "an object by name": ("to", {"kwargs": {"to": object()}}),
    "NaN": ("args[1]", {"args": [1, math.nan]}),
    "infinity": ("args[0]", {"args": [math.inf]}),
    "integers as keys": ("args[0]", {"args": [{1: 2}]}),
    "keys that would be rebuilt": ("args[0]", {"args": [{"__type__": "uuid", "__value__": "x"}]}),
    "an integer of 5,000 digits": ("args[0]", {"args": [10**5000]}),
    "what contains itself": ("args[0]", {"args": [_cycle()]}),
    "what is nested too deep": ("args[0]", {"args": [_deep(100_000)]}),
}


#: Their name is the way down, or a part of it.
_DEEP = {"what contains itself", "what is nested too deep", "a header that is nested too deep"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_and_nothing_is_written(small_house: House, name: str) -> None:
    argument, call = REFUSED[name]
    wanted = argument if isinstance(argument, tuple) else (argument,)
    with pytest.raises(BadArgument) as refusal:
        small_house.app.tasks["tests.echo"].apply_async(**call)
    assert str(refusal.value).startswith(wanted)
    assert refusal.value.name in wanted or name in _DEEP
    assert len(str(refusal.value)) < 500
    assert small_house.nothing_happened()


def test_arguments_that_the_task_does_not_take(house: House) -> None:
    with pytest.raises(TypeError, match="y"):
        house.send("add", 1)
    with pytest.raises(TypeError, match="z"):
        house.send("add", 1, 2, kwargs={"z": 3})
    assert house.nothing_happened()


def test_an_unknown_task_and_what_may_be_meant(house: House) -> None:
    with pytest.raises(
        UnknownTask,
        match=r"no task is named 'tests\.ad'; did you mean 'tests\.add'\?",
    ):
        house.app.send_task("tests.ad", (1, 2))
    with pytest.raises(
        UnknownTask,
        match=r"no task is named 'nothing like it'; one of other code is named in CELERIAC_FOREIGN_TASKS$",
    ):
        house.app.send_task("nothing like it")
    assert house.nothing_happened()


def test_a_payload_above_the_limit_says_its_size_and_the_limit(redis_url: str, database_url: str) -> None:
    with furnished(redis_url, database_url, payload_limit=2000) as house:
        with pytest.raises(PayloadTooLarge, match=r"tests\.echo take 3,0\d\d bytes, the limit is 2,000"):
            house.send("echo", "x" * 3000)
        assert house.nothing_happened()
        assert house.job(house.send("echo", "x" * 1500)).args == ["x" * 1500]


# ---- what nobody should see


@pytest.mark.parametrize(
    "call",
    [
        {"task": "echo", "kwargs": {"password": "hunter2", "user": "ada"}},
        {"task": "echo", "kwargs": {"account": {"api_key": "hunter2", "user": "ada"}}},
        {"task": "echo", "args": ["ada", {"token": "hunter2"}]},
        {"task": "echo", "args": ["ada", Secret("hunter2")]},
        {"task": "echo", "kwargs": {"note": Secret("hunter2"), "user": "ada"}},
        {"task": "log_in", "args": ["ada", "hunter2"]},
    ],
    ids=[
        "a keyword",
        "a key inside",
        "a key in a positional",
        "a Secret",
        "a Secret by keyword",
        "a parameter",
    ],
)
def test_secrets_are_not_in_the_headers(house: House, call: dict[str, Any]) -> None:
    task = house.app.tasks[f"tests.{call['task']}"]
    found = house.job(task.apply_async(call.get("args"), call.get("kwargs")))
    (message,) = house.messages()["normal"]
    shown = json.dumps(message["headers"]) + json.dumps(message["properties"])
    assert "hunter2" not in shown
    assert "***" in shown
    assert "ada" in shown
    with house.app.database.reading() as connection:
        headers = connection.execute(text("SELECT CAST(headers AS text) FROM background_jobs")).scalar_one()
    assert "hunter2" not in headers
    assert "hunter2" in json.dumps([found.args, found.kwargs])  # it does arrive


# ---- without a broker


@contextmanager
def soon() -> Iterator[None]:
    began, waited = time.monotonic(), waited_for_a_cpu()
    yield
    assert time.monotonic() - began - (waited_for_a_cpu() - waited) < SOON


@pytest.mark.parametrize("trouble", ["dead", "frozen"])
def test_without_a_broker_a_call_is_accepted_soon(
    private_valkey: ValkeyServer, database_url: str, trouble: str
) -> None:
    """With a connection that was there before, and from a producer that is new."""
    with (
        furnished(private_valkey.url(), database_url) as warm,
        furnished(private_valkey.url(), database_url) as new,
    ):
        assert warm.job(warm.send("add", 1, 1)).dispatched is not None
        private_valkey.kill() if trouble == "dead" else private_valkey.freeze()
        results = []
        for house in (warm, warm, new, new):  # the second hears that the first was not taken
            with soon():
                results.append(house.send("add", 1, 2))
        found = [warm.job(result) for result in results]
        assert [(each.state, each.dispatched) for each in found] == [(JobState.PENDING, None)] * 4


# ---- without a ledger


def test_without_a_database_a_call_is_refused_soon(
    redis_url: str, private_postgres: PostgresServer, private_postgres_url: str
) -> None:
    with (
        furnished(redis_url, private_postgres_url) as warm,
        furnished(redis_url, private_postgres_url) as new,
    ):
        warm.send("add", 1, 1)
        private_postgres.stop()
        for house in (warm, warm, new, new):
            with soon(), pytest.raises((LedgerUnavailable, EnqueueUncertain)):
                house.send("add", 1, 2)
        assert len(warm.messages()["normal"]) == 1
        private_postgres.restart()
        assert len(warm.jobs()) == 1
        assert warm.job(warm.send("add", 1, 3)).args == [1, 3]


def test_a_database_that_is_locked_refuses_soon(redis_url: str, sqlite_url: str) -> None:
    with furnished(redis_url, sqlite_url) as house:
        house.send("add", 1, 1)
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with soon(), pytest.raises(LedgerUnavailable, match="cannot be reached, nothing was enqueued"):
                house.send("add", 1, 2)
            writer.execute("ROLLBACK")
        assert len(house.jobs()) == 1
        assert len(house.messages()["normal"]) == 1


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "new"])
def test_a_database_that_falls_silent_is_never_half_told(
    redis_url: str, private_postgres: PostgresServer, private_postgres_url: str, warm: bool
) -> None:
    """Refused, or uncertain; afterwards it is a row or not, and never a message without a row."""
    with furnished(redis_url, private_postgres_url) as house:
        if warm:
            house.send("add", 0, 0)
        private_postgres.freeze()
        ids = [str(uuid4()) for _ in range(3)]
        for id in ids:
            with soon(), pytest.raises((LedgerUnavailable, EnqueueUncertain)) as refusal:
                house.send("add", 1, 2, task_id=id)
            if isinstance(refusal.value, EnqueueUncertain):
                assert refusal.value.job_id == id
        private_postgres.thaw()
        _settled(private_postgres)
        rows = {found.id for found in house.jobs()}
        sent = {message["headers"]["id"] for found in house.messages().values() for message in found}
        assert sent <= rows
        assert not {id for id in ids if id in sent}
        assert house.job(house.send("add", 1, 2, task_id=ids[0])).state is JobState.PENDING


def _settled(server: PostgresServer) -> None:
    """Wait until the thawed server has done what it was sent before."""

    def idle() -> bool:
        with server.connect() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'ledger' AND state = 'active'"
            ).fetchone()
            return row == (0,)

    wait_until(idle, within=10, saying="nobody's statement runs")


def test_a_call_that_is_interrupted_leaves_no_half_read_connection(redis_url: str, postgres_url: str) -> None:
    """As a soft time limit does in a task that enqueues while its database is slow."""
    with furnished(redis_url, postgres_url) as house:
        house.send("noop")
        with house.app.database.transaction() as blocker:
            blocker.execute(text("LOCK TABLE background_jobs"))
            with alarm(0.3), pytest.raises(Interrupted):
                house.send("noop")
        house.send("noop")
        assert len(house.messages()["normal"]) == 2


class Interrupted(Exception):
    pass


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise Interrupted in the main thread, wherever it stands."""

    def ring(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR2, ring)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR2))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR2, before)


@pytest.fixture
def homeless() -> Iterator[Celeriac]:
    """An app whose broker and whose database are nowhere."""
    nowhere = "127.0.0.1:1"
    with furnished(f"redis://{nowhere}/0", f"postgresql://nobody@{nowhere}/nothing") as house:
        yield house.app


def test_apply_needs_no_ledger(homeless: Celeriac) -> None:
    run: Callable[..., Any] = homeless.tasks["tests.add"].apply
    assert run((1, 2)).get() == 3
    assert homeless.tasks["tests.retry_with"].apply((1, 2)).get() == 3  # a retry that the task asks for
    failed = homeless.tasks["tests.fail"].apply()  # not retried: a test wants to see it
    assert failed.state == "FAILURE"
    with pytest.raises(ValueError, match="failed on purpose"):
        failed.get()


def test_always_eager_needs_no_ledger(homeless: Celeriac) -> None:
    homeless.conf.task_always_eager = True
    add = homeless.tasks["tests.add"]
    assert add.delay(1, 2).get() == 3
    assert (add.s(1, 2) | add.s(3)).apply_async().get() == 6
    assert homeless.tasks["tests.retry_with"].delay(1, 2).get() == 3
    assert asyncio.run(add.adelay(1, 2)).get() == 3
    assert add(1, 2) == 3
