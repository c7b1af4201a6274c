"""The exchange: the statement that records and claims, sent and read without waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from uuid import UUID

import pytest
from psycopg import Error
from sqlalchemy import make_url, text

from celeriac.ids import new_uuid
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.new_jobs import enqueue
from celeriac.ledger.writes.turn.exchange import Exchange, Exchanged
from tests.new_jobs import new_job

WORKER, OTHER = UUID(int=1), UUID(int=2)
LONG = 60.0  # seconds: more than anything here takes, on a busy machine


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(Database(make_url(postgres_url), pool=2).with_generic_plans()) as database:
        yield database


@pytest.fixture
def other(postgres_url: str) -> Iterator[Database]:
    with closing(Database(make_url(postgres_url))) as database:
        yield database


def opened(database: Database) -> Exchange:
    pooled = database.lend()
    assert pooled is not None
    return Exchange(pooled, worker=WORKER, schema=database.schema, within=LONG)


def waiting(database: Database, count: int) -> list[str]:
    new = [new_job(id=new_uuid()) for _ in range(count)]
    with database.transaction() as connection:
        assert enqueue(connection, new) == count
    return [str(job.id) for job in new]


def running(database: Database, count: int, *, worker: UUID = WORKER) -> list[str]:
    ids = waiting(database, count)
    with database.transaction() as connection:
        claims.claim(connection, [UUID(job) for job in ids], worker=worker)
    return ids


def answered(exchange: Exchange) -> Exchanged:
    while (answer := exchange.read()) is None:
        assert exchange.wait(LONG), "the database answers"
    return answer


def exchanged(exchange: Exchange, completed: Sequence[str], ids: Sequence[str]) -> Exchanged:
    exchange.send([(job, 1, None) for job in completed], ids)
    return answered(exchange)


def states(database: Database, ids: Sequence[str]) -> set[JobState]:
    with database.reading() as connection:
        rows = [job_rows.find(connection, UUID(job)) for job in ids]
    return {JobState(row.state) for row in rows if row is not None}


def test_another_is_opened_after_it(other: Database, database: Database) -> None:
    for _ in range(3):
        ids = waiting(other, 1)
        with closing(opened(database)) as exchange:
            assert exchanged(exchange, [], ids).claimed.keys() == set(ids)


def test_it_records_and_claims(other: Database, database: Database) -> None:
    ended, next_ones = running(other, 300), waiting(other, 400)
    with closing(opened(database)) as exchange:
        answer = exchanged(exchange, ended, next_ones)
        assert answer.completed == set(ended)
        assert answer.claimed.keys() == set(next_ones)
        assert exchanged(exchange, next_ones, []) == Exchanged(frozenset(next_ones), {})
        (last,) = waiting(other, 1)
        assert exchanged(exchange, [], [last]).claimed[last].attempt == 1
    assert states(other, ended + next_ones) == {JobState.COMPLETED}
    assert states(other, [last]) == {JobState.RUNNING}


def test_what_it_says_of_a_job_is_what_a_claim_says(other: Database, database: Database) -> None:
    one, two = waiting(other, 2)
    with closing(opened(database)) as exchange:
        found = exchanged(exchange, [], [one]).claimed[one]
    with other.transaction() as connection:
        known = claims.claim(connection, [UUID(two)], worker=OTHER)[UUID(two)]
    for name in ("attempt", "max_tries", "tries_before", "dispatch_count", "queue", "failed_before"):
        assert getattr(found, name) == getattr(known, name), name
    assert (found.id, found.expires_in, found.redelivered) == (UUID(one), None, False)
    assert type(found.message_tag) is type(known.message_tag)
    assert found.dispatched.tzinfo == known.dispatched.tzinfo
    assert type(found.waited) is type(known.waited)


def test_it_leaves_out_what_is_another_workers_and_what_is_locked(
    other: Database, database: Database
) -> None:
    (theirs,), (mine,), (locked,) = running(other, 1, worker=OTHER), running(other, 1), running(other, 1)
    held = waiting(other, 1)
    with other.transaction() as connection, closing(opened(database)) as exchange:
        rows = text("SELECT id FROM background_jobs WHERE id IN (:a, :b) FOR UPDATE")
        connection.execute(rows, {"a": UUID(locked), "b": UUID(held[0])})
        answer = exchanged(exchange, [theirs, mine, locked], held)
    assert answer == Exchanged(frozenset([mine]), {})


def test_a_connection_that_is_lost_says_so_and_nothing_is_half_done(
    other: Database, database: Database
) -> None:
    ended, next_ones = running(other, 20), waiting(other, 20)
    with closing(opened(database)) as exchange:
        with other.statement() as connection:
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            cut = text(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
            assert all(connection.execute(cut).scalars())
        descriptor = exchange.fileno()
        with pytest.raises(Error):
            exchanged(exchange, ended, next_ones)
        assert exchange.fileno() == descriptor  # the event loop watches it until it is closed
    assert states(other, ended) == {JobState.RUNNING}
    assert states(other, next_ones) == {JobState.PENDING}
    with closing(opened(database)) as exchange:  # the pool has made another one
        assert exchanged(exchange, ended, next_ones).completed == set(ended)


def test_what_the_database_refuses_is_an_error_and_the_next_one_works(
    other: Database, database: Database
) -> None:
    ended = running(other, 1)
    with closing(opened(database)) as exchange:
        exchange.send([], ["no id"])
        with pytest.raises(RuntimeError, match="invalid input syntax for type uuid"):
            answered(exchange)
        assert exchanged(exchange, ended, []).completed == set(ended)


def test_a_database_that_does_not_answer_is_given_up(other: Database, database: Database) -> None:
    (job,) = running(other, 1)
    pooled = database.lend()
    assert pooled is not None
    impatient = Exchange(pooled, worker=WORKER, schema=None, within=0.2)
    with closing(impatient) as exchange, other.transaction() as connection:
        connection.execute(text("LOCK TABLE background_jobs IN ACCESS EXCLUSIVE MODE"))
        exchange.send([(job, 1, None)], [])
        with pytest.raises(Error):
            answered(exchange)
    assert states(other, [job]) <= {JobState.RUNNING, JobState.COMPLETED}


def test_an_answer_that_is_not_waited_for_closes_the_connection(other: Database, database: Database) -> None:
    (job,) = running(other, 1)
    exchange = opened(database)
    with other.transaction() as connection:
        connection.execute(text("LOCK TABLE background_jobs IN ACCESS EXCLUSIVE MODE"))
        exchange.send([(job, 1, None)], [])
        exchange.close()
    with closing(opened(database)) as second:  # nobody reads the answer to another one's statement
        (next_one,) = waiting(other, 1)
        assert exchanged(second, [], [next_one]).claimed.keys() == {next_one}


def test_it_records_results(other: Database, database: Database) -> None:
    results = ['[1, "\\u0000", null]', None, '"\\" ü \U0001f600"', "null"]
    ended = running(other, len(results))
    with closing(opened(database)) as exchange:
        exchange.send([(job, 1, result) for job, result in zip(ended, results, strict=True)], [])
        assert answered(exchange).completed == set(ended)
    with other.reading() as connection:
        rows = [job_rows.find(connection, UUID(job)) for job in ended]
    assert [row and row.result for row in rows] == results
