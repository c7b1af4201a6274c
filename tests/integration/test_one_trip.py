"""Several statements in one round trip: what each sees, and what becomes of their transaction."""

from __future__ import annotations

import select as polling
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from psycopg.errors import UniqueViolation
from sqlalchemy import bindparam, insert, literal, make_url, select
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from celeriac.ledger.connection import one_trip
from celeriac.ledger.connection.compiled_statement import CompiledStatement
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.one_trip import change, in_one_trip, transaction_of_trips
from celeriac.ledger.limits import lines
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.limit_tables import PERMIT_KEYS
from tests.support import wait_until

_NAMES = select(PERMIT_KEYS.c.name).order_by(PERMIT_KEYS.c.name)
_INSERT = insert(PERMIT_KEYS).values(name=bindparam("name"), touched=now())
_ONE = select(literal(1)), {}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(make_url(database_url))) as made:
        yield made


def names(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.execute(_NAMES).scalars())


def step(name: str) -> Any:
    return _INSERT, {"name": name}


def test_statements_are_done_in_their_order_and_committed(database: Database) -> None:
    with transaction_of_trips(database, idle=5) as connection:
        assert in_one_trip(connection, step("a"), (_NAMES, {}))[1][0][0] == "a"
        assert in_one_trip(connection, step("b"), _ONE) is not None
    assert names(database) == ["a", "b"]


def test_a_trip_that_commits_ends_the_transaction(database: Database) -> None:
    with pytest.raises(RuntimeError), transaction_of_trips(database, idle=5) as connection:
        in_one_trip(connection, step("a"))
        in_one_trip(connection, step("b"), commit=True)
        if database.dialect == "postgresql":
            assert names(database) == ["a", "b"], "it is done before the block ends"
        raise RuntimeError
    assert names(database) == (["a", "b"] if database.dialect == "postgresql" else [])


def test_what_fails_is_rolled_back_and_the_connection_is_fit_for_the_next(database: Database) -> None:
    for commit in (False, True):
        with pytest.raises(IntegrityError), transaction_of_trips(database, idle=5) as connection:
            in_one_trip(connection, step("a"))
            in_one_trip(connection, step("b"), step("a"), step("c"), commit=commit)
        assert names(database) == []
    with pytest.raises(RuntimeError), transaction_of_trips(database, idle=5) as connection:
        in_one_trip(connection, step("a"))
        raise RuntimeError
    with transaction_of_trips(database, idle=5) as connection:
        in_one_trip(connection, step("d"))
    assert names(database) == ["d"]


def test_no_text_is_cut_short_in_silence(database: Database) -> None:
    """libpq would send it up to its first zero byte."""
    if database.dialect == "postgresql":
        with pytest.raises(DataError), transaction_of_trips(database, idle=5) as connection:
            in_one_trip(connection, step("a\0b"))
        with transaction_of_trips(database, idle=5) as connection:
            in_one_trip(connection, step("c"), commit=True)
        assert names(database) == ["c"]


@pytest.mark.parametrize("trips", [True, False], ids=["in a trip", "where the driver cannot"])
def test_something_else_is_done_while_the_server_works(
    postgres_url: str, trips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_trip, "are_possible", lambda database: trips)
    statement, done = CompiledStatement(_INSERT), []
    with closing(Database(make_url(postgres_url))) as database, database.driver() as pooled:
        for name in ("a", "b"):  # the second time it is prepared
            changed = change(
                pooled, database, statement, {"name": name}, meanwhile=partial(done.append, name)
            )
            assert changed == 1
        assert (done, names(database)) == (["a", "b"], ["a", "b"])
        with pytest.raises(UniqueViolation) as caught:
            change(pooled, database, statement, {"name": "a"}, meanwhile=lambda: done.append("a"))
        assert caught.value.sqlstate == "23505"


def test_a_connection_that_was_interrupted_in_a_trip_is_dropped(postgres_url: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    statement = CompiledStatement(_INSERT)
    with closing(Database(make_url(postgres_url), pool=1)) as database:
        with pytest.raises(KeyboardInterrupt), database.driver() as pooled:
            change(pooled, database, statement, {"name": "a"}, meanwhile=interrupt)
        with database.driver() as pooled:
            assert change(pooled, database, statement, {"name": "b"}, meanwhile=lambda: None) == 1
            pooled.driver_connection.pgconn.enter_pipeline_mode()  # type: ignore[union-attr]  # of psycopg
        with database.driver() as pooled:
            driver: Any = pooled.driver_connection
            assert driver.execute("SELECT 1").fetchone() == (1,)


def test_in_another_transaction_nothing_is_committed(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction() as connection:
        in_one_trip(connection, step("a"), commit=True)
        raise RuntimeError
    assert names(database) == []


def test_a_statement_behind_a_lock_sees_what_the_lock_waited_for(postgres_url: str) -> None:
    """A count in the statement that locks would be older than its lock."""
    with closing(Database(make_url(postgres_url))) as database:
        with database.transaction() as connection:
            lines.lock_keys(connection, ["a"])
        found: list[str] = []

        def lock_and_read() -> None:
            lock = lines.lock_step("postgresql", ["a"])
            with transaction_of_trips(database, idle=30) as other:
                found.extend(row[0] for row in in_one_trip(other, lock, (_NAMES, {}))[1])

        with database.transaction() as connection:
            lines.lock_keys(connection, ["a"])
            waiting = threading.Thread(target=lock_and_read)
            waiting.start()
            wait_until(lambda: _waits(database), within=30, saying="the other waits for the lock")
            connection.execute(*step("b"))
        waiting.join(30)
    assert found == ["a", "b"]


def _waits(database: Database) -> bool:
    mine = "datname = current_database()"
    query = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND {mine}"
    with database.reading() as connection:
        return bool(connection.exec_driver_sql(query).scalar_one())


def test_a_transaction_that_the_server_has_ended_counts_as_unreachable(postgres_url: str) -> None:
    with closing(Database(make_url(postgres_url))) as database:
        with pytest.raises(OperationalError), transaction_of_trips(database, idle=0.05) as connection:
            in_one_trip(connection, step("a"))
            gone: Any = connection.connection.driver_connection
            wait_until(lambda: _is_readable(gone), within=30, saying="the server has closed it")
            in_one_trip(connection, step("b"))
        with transaction_of_trips(database, idle=5) as connection:
            in_one_trip(connection, step("c"))
        assert names(database) == ["c"]


def _is_readable(driver: Any) -> bool:
    poller = polling.poll()
    poller.register(driver.fileno(), polling.POLLIN)
    return bool(poller.poll(10))


def test_where_the_driver_cannot_each_is_a_trip_of_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_trip, "are_possible", lambda database: False)
    with transaction_of_trips(database, idle=5) as connection:
        assert in_one_trip(connection, step("a"), (_NAMES, {}), commit=True)[1][0][0] == "a"
    assert names(database) == ["a"]
