"""Rescue: what may be dead is seen, and a burial is of what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete, make_url, select, update

from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import health
from celeriac.ledger.schema.columns import after, now
from celeriac.ledger.schema.models import JOBS, WORKERS
from celeriac.ledger.upkeep import rescue, worker_rows
from celeriac.ledger.upkeep.rescue import Sighting
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import claims, new_jobs
from celeriac.worker.counters import Meter
from celeriac.worker.duties.rescuer import Rescuer
from tests.new_jobs import new_job
from tests.support import wait_until

ME = WorkerStart(
    id=UUID(int=1), hostname="here", pid=1, pool="solo", concurrency=1, queues=["low"], tasks="", version="1"
)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    database = Database(make_url(database_url))
    with database.statement() as connection:
        yield connection
    database.close()


def set_row(connection: Connection, **values: object) -> None:
    connection.execute(update(WORKERS).where(WORKERS.c.id == ME.id).values(**values))


def lose_row(connection: Connection) -> None:
    """As a database does that is restored to older data."""
    connection.execute(delete(WORKERS).where(WORKERS.c.id == ME.id))


def seen(connection: Connection) -> list[Sighting]:
    return rescue.sightings(connection)


def hold(connection: Connection, *, worker: UUID = ME.id) -> UUID:
    job = new_job()
    new_jobs.enqueue(connection, [job])
    assert claims.claim(connection, [job.id], worker=worker)
    return job.id


def test_a_living_worker_is_seen_and_one_that_signed_off_is_not(connection: Connection) -> None:
    worker_rows.sign_on(connection, ME)
    assert [each.worker for each in seen(connection)] == [ME.id]
    worker_rows.sign_off(connection, ME.id)
    assert seen(connection) == []


def test_one_that_ended_and_holds_jobs_is_seen(connection: Connection) -> None:
    worker_rows.sign_on(connection, ME)
    hold(connection)
    worker_rows.sign_off(connection, ME.id)
    (found,) = seen(connection)
    assert found.worker == ME.id
    assert found.stopped is not None


def test_holders_without_a_row_are_seen(connection: Connection) -> None:
    others = [UUID(int=number) for number in (7, 8, 9)]
    for worker in [*others, *others]:
        hold(connection, worker=worker)
    worker_rows.sign_on(connection, ME)
    hold(connection)
    found = {each.worker: each for each in seen(connection)}
    assert found.keys() == {ME.id, *others}
    assert {found[worker] for worker in others} == {Sighting(worker, None, None) for worker in others}


def test_a_burial_is_of_what_was_seen(connection: Connection) -> None:
    worker_rows.sign_on(connection, ME)
    (before,) = seen(connection)
    assert worker_rows.beat(connection, ME.id)
    assert not rescue.declare_dead(connection, before)
    (found,) = seen(connection)
    assert rescue.declare_dead(connection, found)
    assert not rescue.declare_dead(connection, found)  # others were first


def test_of_two_burials_of_one_that_holds_jobs_again_one_wins(connection: Connection) -> None:
    worker_rows.sign_on(connection, ME)
    (found,) = seen(connection)
    assert rescue.declare_dead(connection, found)
    hold(connection)
    (again,) = seen(connection)
    assert rescue.declare_dead(connection, again)
    assert not rescue.declare_dead(connection, again)


def test_the_age_of_a_heartbeat_on_the_database_s_clock_buries_nobody(connection: Connection) -> None:
    worker_rows.sign_on(connection, ME)
    (before,) = seen(connection)
    set_row(connection, heartbeat=after(-3600.0))
    assert not rescue.declare_dead(connection, before)


def test_one_without_a_row_is_buried_unless_it_has_signed_on(connection: Connection) -> None:
    hold(connection)
    (found,) = seen(connection)
    assert rescue.declare_dead(connection, found)
    worker_rows.sign_on(connection, ME)
    assert not rescue.declare_dead(connection, found)


def test_a_worker_whose_row_is_gone_is_told_so_and_signs_on_again(connection: Connection) -> None:
    worker_rows.sign_on(connection, ME)
    lose_row(connection)
    assert not worker_rows.beat(connection, ME.id)
    worker_rows.sign_on(connection, ME)
    assert worker_rows.beat(connection, ME.id)


def test_a_worker_that_was_buried_is_told_so_and_signs_on_again(connection: Connection) -> None:
    worker_rows.sign_on(connection, ME)
    set_row(connection, stopped=now(), heartbeat=after(-60.0))
    assert not worker_rows.beat(connection, ME.id)
    worker_rows.sign_on(connection, ME)
    row = connection.execute(select(WORKERS.c.stopped, WORKERS.c.heartbeat >= after(-5.0))).one()
    assert tuple(row) == (None, True)


def test_what_a_worker_without_a_row_holds_is_given_back(database_url: str) -> None:
    """The ledger was restored to older data: nobody knows the holder any more."""
    database = Database(make_url(database_url))
    with database.statement() as connection:
        job = hold(connection, worker=UUID(int=9))
        worker_rows.sign_on(connection, ME)
    rescuer = Rescuer(
        database,
        worker=ME.id,
        silence=0.3,
        stored_results=lambda jobs: {},
        on_change=lambda: None,
        meter=Meter(),
    )

    def given_back() -> bool:
        rescuer.beat_written()
        rescuer.rescue_dead()
        with database.statement() as connection:
            found = connection.execute(select(JOBS.c.state, JOBS.c.worker_id).where(JOBS.c.id == job)).one()
            assert found.state == "error" or health.orphans(connection, silence=timedelta(minutes=1)) == 1
            return bool(found.state == "error" and found.worker_id is None)

    wait_until(given_back, within=30, saying="it is given back")
    with database.statement() as connection:
        assert health.orphans(connection, silence=timedelta(0)) == 0  # what doctor looks at
    database.close()
