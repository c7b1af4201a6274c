"""What lets a PgBouncer in transaction mode stand in between: no statement needs the session of another.

``make chaos`` has the real one in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from sqlalchemy import Connection, make_url

from celeriac.ids import new_id
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import dispatch, lost_messages, rescue, roll_up, worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import cancel, claims, new_jobs, outcomes
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.outcomes import Outcome

WORKER = UUID(int=1)
JOB = UUID(new_id())

#: What a session can keep behind a transaction's end.
LEFT_BEHIND = """
    SELECT 'prepared ' || name FROM pg_prepared_statements
    UNION ALL SELECT 'setting ' || name FROM pg_settings WHERE source = 'session'
    UNION ALL SELECT 'advisory lock' FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
    UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relpersistence = 't'
    UNION ALL SELECT 'listens to ' || channel FROM pg_listening_channels() AS channel
    UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable
"""


def new_job() -> NewJob:
    return NewJob(
        id=JOB,
        job_type="mail.send",
        queue="normal",
        priority=10,
        payload=b"[[], {}, {}]",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": str(JOB)},
        max_tries=5,
    )


START = WorkerStart(
    id=WORKER,
    hostname="celery@here",
    pid=1,
    pool="prefork",
    concurrency=2,
    queues=["normal"],
    tasks="",
    version="0",
)

#: A job's way through the ledger, one transaction each.
STEPS: list[Callable[[Connection], object]] = [
    lambda c: worker_rows.sign_on(c, START),
    lambda c: new_jobs.enqueue(c, [new_job()]),
    lambda c: dispatch.levels(c),
    lambda c: dispatch.unmark(c, [JOB]),
    lambda c: dispatch.take_due(c, 10, limit=5),
    lambda c: lost_messages.clear_dispatch_marks(c, {"normal": None}, grace=10),
    lambda c: claims.claim(c, [JOB], worker=WORKER),
    lambda c: worker_rows.beat(c, WORKER),
    lambda c: rescue.held_by(c, [WORKER]),
    lambda c: rescue.sightings(c),
    lambda c: cancel.cancel(c, [JOB], mode=cancel.Mode.SOFT),
    lambda c: outcomes.record(c, [Outcome(id=JOB, attempt=1, state=JobState.COMPLETED)], worker=WORKER),
    lambda c: roll_up.roll_up(c),
    lambda c: worker_rows.sign_off(c, WORKER),
]


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(make_url(postgres_url), pool=1, prepared=False)
    yield database
    database.close()


def state_of(database: Database) -> str:
    with database.reading() as connection:
        return str(
            connection.exec_driver_sql(f"SELECT state FROM background_jobs WHERE id = '{JOB}'").scalar()
        )


def test_every_transaction_may_have_a_connection_of_its_own(database: Database) -> None:
    for step in STEPS:
        with database.transaction() as connection:
            step(connection)
        database.close()
    assert state_of(database) == JobState.COMPLETED


def test_nothing_is_left_behind_in_a_session(database: Database) -> None:
    """What is set when a connection is made is set for our own sessions alone: see ``postgresql_session``."""
    with database.reading() as connection:
        at_first = connection.exec_driver_sql(LEFT_BEHIND).scalars().all()
    for step in [*STEPS, *STEPS[1:] * 6]:  # psycopg would prepare what it sees for the sixth time
        with database.transaction() as connection:
            step(connection)
    with database.reading() as connection:
        assert connection.exec_driver_sql(LEFT_BEHIND).scalars().all() == at_first
    assert all(name.startswith("setting ") for name in at_first)


def test_statements_are_prepared_where_that_is_allowed(postgres_url: str) -> None:
    database = Database(make_url(postgres_url), pool=1)
    for _ in range(8):
        with database.transaction() as connection:
            dispatch.levels(connection)
    with database.reading() as connection:
        left = connection.exec_driver_sql(LEFT_BEHIND).scalars().all()
    database.close()
    assert any("prepared" in name for name in left)
