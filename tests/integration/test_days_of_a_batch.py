"""A worker's statements name the partition of their jobs, in a ledger that is divided by days."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, make_url, text

from celeriac.ids import new_uuid
from celeriac.ledger import migrate
from celeriac.ledger.connection.database import Database
from celeriac.ledger.partitions import known
from celeriac.ledger.partitions.layout import Day
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.new_jobs import enqueue
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.ledger.writes.turn.complete_and_claim import complete_and_claim
from celeriac.ledger.writes.turn.exchange import Exchange, Exchanged
from tests.new_jobs import new_job

WORKER = UUID(int=1)
LONG = 60.0  # seconds: more than anything here takes, on a busy machine


@pytest.fixture
def url(bare_postgres_url: str) -> str:
    migrate.upgrade(bare_postgres_url, by_day=True)
    return bare_postgres_url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(make_url(url), longest=LONG)) as made:
        yield made


@pytest.fixture
def keyed(database: Database) -> Iterator[Database]:
    """The one connection of an exchange."""
    with closing(database.with_generic_plans()) as made:
        yield made


@contextmanager
def held_table(database: Database) -> Iterator[Connection]:
    """Somebody has the table, without its partitions: a statement that names it would wait."""
    with closing(Database(database.url)) as other, other.transaction() as connection:
        connection.execute(text("LOCK TABLE ONLY background_jobs IN EXCLUSIVE MODE"))
        yield connection


@pytest.fixture
def waiting(database: Database) -> list[UUID]:
    new = [new_job(id=new_uuid()) for _ in range(20)]
    with database.transaction() as connection:
        assert enqueue(connection, new) == len(new)
    return [job.id for job in new]


def tomorrow(database: Database) -> UUID:
    """A job whose id says that it was accepted tomorrow."""
    moment = datetime.now(UTC) + timedelta(1)
    job = new_job(id=UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62))
    with database.transaction() as connection:
        enqueue(connection, [job])
    return job.id


def opened(keyed: Database, days: frozenset[Day]) -> Exchange:
    pooled = keyed.lend()
    assert pooled is not None
    return Exchange(pooled, worker=WORKER, schema=keyed.schema, within=LONG, days=days)


def answered(exchange: Exchange) -> Exchanged:
    while (answer := exchange.read()) is None:
        assert exchange.wait(LONG), "the database answers"
    return answer


def completed(jobs: list[UUID]) -> list[Outcome]:
    return [Outcome(id=job, attempt=1, state=JobState.COMPLETED) for job in jobs]


def test_a_turn_of_one_day_needs_its_partition_only(database: Database, waiting: list[UUID]) -> None:
    with held_table(database):
        _, won = complete_and_claim(database, [], waiting, worker=WORKER)
        accepted, _ = complete_and_claim(database, completed(waiting), [], worker=WORKER)
    assert won.keys() == accepted.keys() == set(waiting)


def test_an_exchange_of_one_day_needs_its_partition_only(
    database: Database, keyed: Database, waiting: list[UUID]
) -> None:
    with closing(opened(keyed, known.known_days(database))) as exchange, held_table(database):
        exchange.send([], [str(job) for job in waiting])
        assert len(answered(exchange).claimed) == len(waiting)
        exchange.send([(str(job), 1, None) for job in waiting], [])
        assert len(answered(exchange).completed) == len(waiting)


def test_jobs_of_two_days_are_claimed_at_once(
    database: Database, keyed: Database, waiting: list[UUID]
) -> None:
    of_today, of_turn, of_exchange = waiting[:10], tomorrow(database), tomorrow(database)
    _, won = complete_and_claim(database, [], [*of_today, of_turn], worker=WORKER)
    assert won.keys() == {*of_today, of_turn}
    with closing(opened(keyed, known.known_days(database))) as exchange:
        exchange.send([], [str(job) for job in (*waiting[10:], of_exchange)])
        assert len(answered(exchange).claimed) == 11


def test_a_plain_table_has_no_partition_to_name(postgres_url: str) -> None:
    with closing(Database(make_url(postgres_url))) as database:
        job = new_uuid()
        assert known.partition_of(database, job, job) is None


def test_an_id_that_says_no_day_is_looked_for_in_the_table(database: Database) -> None:
    none = UUID(int=2**128 - 1)
    assert known.partition_of(database, none, none) is None
    assert known.partition_of(database, new_uuid(), none) is None


def test_a_day_that_was_dropped_is_forgotten(database: Database) -> None:
    job = tomorrow(database)
    name = known.partition_of(database, job, job)
    assert name is not None
    with database.transaction() as connection:
        connection.execute(text(f"ALTER TABLE background_jobs DETACH PARTITION {name}"))
        connection.execute(text(f"DROP TABLE {name}"))
    with pytest.raises(ConnectionError):
        complete_and_claim(database, [], [job], worker=WORKER)
    assert complete_and_claim(database, [], [job], worker=WORKER) == ({}, {})


def test_an_exchange_knows_when_its_days_are_over(database: Database, keyed: Database) -> None:
    today = Day.of(datetime.now(UTC))
    over = today.later(-1)
    with database.transaction() as connection:
        made = f"CREATE TABLE {over.name} PARTITION OF background_jobs FOR VALUES {over.bounds}"
        connection.execute(text(made))
    for days, is_outdated in ({today, over}, False), ({over}, True), (set[Day](), False):
        with closing(opened(keyed, frozenset(days))) as exchange:
            assert exchange.is_outdated is is_outdated
