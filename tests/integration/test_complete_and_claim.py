"""Completions and claims of one statement: the same as in two, in one transaction of their own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID

import pytest
from sqlalchemy import make_url, text

from celeriac.ids import new_uuid
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.new_jobs import NewJob, enqueue
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.ledger.writes.turn.complete_and_claim import complete_and_claim
from tests.new_jobs import new_job
from tests.support import wait_until

WORKER, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(make_url(database_url), pool=2).with_generic_plans()) as database:
        yield database


def waiting(database: Database, count: int, **changes: object) -> list[UUID]:
    new: list[NewJob] = [new_job(id=new_uuid(), **changes) for _ in range(count)]
    with database.transaction() as connection:
        assert enqueue(connection, new) == count
    return [job.id for job in new]


def running(database: Database, count: int, *, worker: UUID = WORKER) -> list[UUID]:
    ids = waiting(database, count)
    with database.transaction() as connection:
        assert claims.claim(connection, ids, worker=worker).keys() == set(ids)
    return ids


def done(job: UUID, attempt: int = 1, result: str | None = None) -> Outcome:
    return Outcome(id=job, attempt=attempt, state=JobState.COMPLETED, result=result)


def state_of(database: Database, job: UUID) -> tuple[str, str | None]:
    with database.reading() as connection:
        row = job_rows.find(connection, job)
    assert row is not None
    return str(row.state), row.result


def test_it_records_and_claims(database: Database) -> None:
    ended, next_ones = running(database, 2), waiting(database, 3)
    completed = [done(ended[0], result="[1]"), done(ended[1])]
    accepted, won = complete_and_claim(database, completed, next_ones, worker=WORKER)
    assert accepted == dict.fromkeys(ended, JobState.COMPLETED)
    assert {job: claimed.attempt for job, claimed in won.items()} == dict.fromkeys(next_ones, 1)
    assert [state_of(database, job) for job in ended] == [("completed", "[1]"), ("completed", None)]
    assert {state_of(database, job)[0] for job in next_ones} == {"running"}


def test_a_job_keeps_the_worker_that_claimed_it_last(database: Database) -> None:
    (job,) = waiting(database, 1)
    complete_and_claim(database, [], [job], worker=WORKER)
    complete_and_claim(database, [done(job)], [], worker=WORKER)
    with database.reading() as connection:
        row = job_rows.find(connection, job)
    assert row is not None
    assert (row.state, row.worker_id, row.last_worker_id) == ("completed", None, WORKER)


def test_what_was_won_is_what_a_claim_by_itself_says(database: Database) -> None:
    one, other = waiting(database, 2, expires_in=60.0)
    with database.transaction() as connection:
        alone = claims.claim(connection, [one], worker=WORKER)[one]
    [ended] = running(database, 1)
    beside = complete_and_claim(database, [done(ended)], [other], worker=WORKER)[1][other]
    for name in ("attempt", "max_tries", "tries_before", "dispatch_count", "queue", "failed_before"):
        assert getattr(beside, name) == getattr(alone, name)
    assert 0 <= beside.waited.total_seconds() < 10
    assert beside.expires_in is not None
    assert 50 < beside.expires_in.total_seconds() <= 60
    assert abs((beside.dispatched - alone.dispatched).total_seconds()) < 10


def test_each_half_may_be_missing(database: Database) -> None:
    [ended], [waits] = running(database, 1), waiting(database, 1)
    assert complete_and_claim(database, [], [], worker=WORKER) == ({}, {})
    assert complete_and_claim(database, [done(ended)], [], worker=WORKER) == ({ended: JobState.COMPLETED}, {})
    accepted, won = complete_and_claim(database, [], [waits], worker=WORKER)
    assert (accepted, won.keys()) == ({}, {waits})


def test_what_is_not_this_workers_is_left_alone(database: Database) -> None:
    [theirs], [mine] = running(database, 1, worker=OTHER), running(database, 1)
    [parked] = waiting(database, 1, not_before=PARKED)
    late = [done(theirs), done(mine, attempt=2)]
    assert complete_and_claim(database, late, [parked, theirs, UUID(int=99)], worker=WORKER) == ({}, {})
    assert state_of(database, theirs) == state_of(database, mine) == ("running", None)


def test_a_lost_connection_is_said_to_be_one_and_is_dropped(postgres_url: str) -> None:
    database = Database(make_url(postgres_url)).with_generic_plans()
    with (
        closing(database),
        closing(Database(make_url(postgres_url))) as beside,
        ThreadPoolExecutor(1) as pool,
    ):
        ids = waiting(database, 2)
        with beside.transaction() as locked:
            locked.execute(text("LOCK TABLE background_jobs IN ACCESS EXCLUSIVE MODE"))
            claim = pool.submit(complete_and_claim, database, [], ids, worker=WORKER)
            wait_until(lambda: locked.execute(_CUT).scalar(), within=5, saying="a claim that waits")
            with pytest.raises(ConnectionError):
                claim.result(60)
        assert complete_and_claim(database, [], ids, worker=WORKER)[1].keys() == set(ids)


#: Ends the connection that waits for this one; nothing while there is none.
_CUT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
)
