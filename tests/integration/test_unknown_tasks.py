"""Jobs of a task that some workers know and others do not: left to those that know it, at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Row, make_url, select, update

from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.models import JOBS, WORKER_TASKS, WORKERS
from celeriac.ledger.upkeep import prune, worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import claims, new_jobs, quarantine
from celeriac.worker.duties.unknown_task_collector import UnknownTaskCollector
from celeriac.worker.gate import deliveries
from tests.new_jobs import new_job

HOUR = 3600.0  # seconds
TASK = new_job().job_type
NEW = WorkerStart(
    id=UUID(int=1),
    hostname="new",
    pid=1,
    pool="solo",
    concurrency=1,
    queues=["high", "normal"],
    tasks="new",
    version="2",
    names=[TASK, "other"],
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(make_url(database_url))
    yield database
    database.close()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.statement() as connection:
        yield connection


def put_back(connection: Connection, *, for_an_hour: bool = False, **changes: Any) -> UUID:
    """A job that an older worker has drawn."""
    job = new_job(**changes)
    new_jobs.enqueue(connection, [job])
    if for_an_hour:
        long_ago = update(JOBS).where(JOBS.c.id == job.id).values(unknown_since=after(-HOUR - 1))
        connection.execute(long_ago)
    quarantine.postpone(connection, [job.id], delay=30.0, limit=HOUR)
    return job.id


def row(connection: Connection, job: UUID) -> Row[Any]:
    return connection.execute(select(JOBS).where(JOBS.c.id == job)).one()


def collect(connection: Connection, **given: Any) -> list[UUID]:
    asked: dict[str, Any] = {"tasks": [TASK], "queues": ["normal"], "limit": 10} | given
    return [message.id for message in quarantine.collect(connection, **asked)]


def test_what_was_put_back_is_collected_at_once_by_one_that_knows_its_task(connection: Connection) -> None:
    job = put_back(connection)
    assert claims.claim(connection, [job], worker=NEW.id) == {}  # it waits for 30 s
    assert collect(connection) == [job]
    assert collect(connection) == []  # it is on its way
    (won,) = claims.claim(connection, [job], worker=NEW.id).values()
    assert won.attempt == 1
    assert row(connection, job).unknown_since is None


def test_only_what_one_knows_and_draws_is_collected(connection: Connection) -> None:
    put_back(connection)
    assert collect(connection, tasks=["other"]) == []
    assert collect(connection, queues=["high"]) == []
    assert collect(connection, tasks=[], queues=[]) == []


def test_what_waits_for_its_time_is_not_collected(connection: Connection) -> None:
    new_jobs.enqueue(connection, [new_job(delay=60.0), new_job(send=False)])
    assert collect(connection) == []


def test_the_most_important_is_collected_first(connection: Connection) -> None:
    low, high = put_back(connection, priority=0), put_back(connection, priority=20)
    assert [collect(connection, limit=1) for _ in range(2)] == [[high], [low]]


def test_a_job_whose_task_a_living_worker_knows_is_never_failed(connection: Connection) -> None:
    worker_rows.sign_on(connection, NEW)
    job = put_back(connection, for_an_hour=True)
    found = row(connection, job)
    assert (found.state, found.failure_info, found.dispatched) == ("pending", None, None)
    assert collect(connection) == [job]


@pytest.mark.parametrize("who", ["nobody", "one that draws elsewhere", "one that is dead", "one of others"])
def test_it_is_failed_where_no_living_worker_would_run_it(who: str, connection: Connection) -> None:
    if who == "one that draws elsewhere":
        worker_rows.sign_on(connection, replace(NEW, queues=["high"]))
    elif who == "one of others":
        worker_rows.sign_on(connection, replace(NEW, names=["other"]))
    elif who == "one that is dead":
        worker_rows.sign_on(connection, NEW)
        worker_rows.sign_off(connection, NEW.id)
    assert row(connection, put_back(connection, for_an_hour=True)).state == "failed"


def test_the_names_of_tasks_are_kept_once_and_as_long_as_a_worker_knows_them(connection: Connection) -> None:
    for number in (1, 2):
        worker_rows.sign_on(connection, replace(NEW, id=UUID(int=number)))
    assert len(connection.execute(select(WORKER_TASKS)).all()) == 2
    for number, left in ((1, 2), (2, 0)):
        worker_rows.sign_off(connection, UUID(int=number))
        connection.execute(update(WORKERS).values(heartbeat=after(-60.0)))
        assert prune.prune_workers(connection, age=0.0) == 1
        assert len(connection.execute(select(WORKER_TASKS)).all()) == left


def test_a_collected_job_is_a_delivery_like_any_other(database: Database) -> None:
    received: list[Any] = []
    rooms = iter([0, 1, 5, 5])
    collector = UnknownTaskCollector(
        database,
        tasks=lambda: [TASK],
        queues=lambda: ["normal"],
        capacity=lambda: next(rooms),
        receive=received.append,
    )
    with database.statement() as connection:
        ids = {put_back(connection) for _ in range(3)}
    waits = [collector.run() for _ in range(4)]
    assert [wait is None for wait in waits] == [True, False, False, True]
    read = [deliveries.read(message, {TASK}, max_tries=5) for message in received]
    assert {delivery.job for delivery in read if isinstance(delivery, deliveries.Delivery)} == ids
    assert all(isinstance(delivery, deliveries.Delivery) and delivery.known for delivery in read)
    for message in received:
        assert message.decode() is not None
        message.ack()
