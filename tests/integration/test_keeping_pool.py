"""A connection that is kept for the next call: nobody waits for it, and nobody gets it who must not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import make_url, text

from celeriac.ledger.connection import keeping_pool
from celeriac.ledger.connection.database import Database
from tests.support import wait_until


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(Database(make_url(postgres_url), pool=1, patience=30)) as made:
        yield made


def backend(database: Database) -> int:
    """Which connection is borrowed, by its server process."""
    with database.driver() as pooled:
        driver: Any = pooled.driver_connection
        return int(driver.info.backend_pid)


def kept(database: Database) -> Any:
    pool: Any = database.engine.pool
    return pool._kept


def test_the_next_borrower_gets_the_same(database: Database) -> None:
    first = backend(database)
    fairy = kept(database)
    assert fairy is not None
    assert (backend(database), kept(database)) == (first, fairy)


USERS: dict[str, Callable[[Database], Any]] = {
    "a transaction": lambda database: database.transaction(),
    "a reading": lambda database: database.reading(),
    "an engine's own": lambda database: database.engine.connect(),
    "one that is lent": lambda database: closing(database.lend()),  # type: ignore[type-var]  # there is one
}


@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
def test_nobody_waits_for_one_that_is_kept(database: Database, user: Callable[[Database], Any]) -> None:
    """The pool has no other."""
    first = backend(database)
    with user(database):
        assert kept(database) is None
    assert backend(database) == first


def test_who_waits_for_a_connection_has_it_before_the_next_borrower(database: Database) -> None:
    done = threading.Event()

    def read() -> None:
        with database.reading() as connection:
            connection.execute(text("SELECT 1"))
        done.set()

    pool: Any = database.engine.pool
    with database.driver():
        reader = threading.Thread(target=read)
        reader.start()
        wait_until(lambda: pool._wanting, within=30, saying="the reader waits")
        assert not done.is_set()
    assert done.wait(30)
    reader.join(30)


def test_threads_in_need_of_more_than_there_are_take_turns(postgres_url: str) -> None:
    """Half of them borrow, half of them do not: one that was kept while another waits would end this."""
    with closing(Database(make_url(postgres_url), pool=2, patience=30)) as database:
        barrier, errors = threading.Barrier(8), []

        def call(borrows: bool) -> None:
            barrier.wait()
            try:
                for _ in range(100):
                    with database.driver() if borrows else database.reading():
                        pass
            except Exception as exc:
                errors.append(exc)

        threads = [threading.Thread(target=call, args=(number % 2 == 0,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        pool: Any = database.engine.pool
        assert pool.checkedout() == (1 if pool._kept else 0)


def test_one_that_the_server_has_closed_is_not_used(database: Database, postgres_url: str) -> None:
    first = backend(database)
    with closing(Database(make_url(postgres_url))) as other, other.transaction() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 30000)"), {"pid": first})
    assert backend(database) != first


def test_one_that_is_busy_is_not_kept(database: Database) -> None:
    first = backend(database)
    with database.driver() as pooled:
        driver: Any = pooled.driver_connection
        driver.execute("BEGIN")
    assert kept(database) is None
    assert backend(database) != first


def test_one_whose_block_failed_is_not_kept(database: Database) -> None:
    with pytest.raises(RuntimeError), database.driver():
        raise RuntimeError
    assert kept(database) is None


def test_it_goes_through_the_pool_at_times(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which replaces what is too old."""
    monkeypatch.setattr(keeping_pool, "_LONGEST", -1.0)
    backend(database)
    fairy = kept(database)
    backend(database)
    assert kept(database) is not fairy


def test_closing_closes_it(database: Database) -> None:
    first = backend(database)
    driver = kept(database).driver_connection
    database.close()
    assert driver.closed
    assert backend(database) != first


def test_closing_closes_one_that_is_borrowed(database: Database) -> None:
    pool: Any = database.engine.pool
    borrowed = pool.borrow()
    driver = borrowed.driver_connection
    database.close()
    pool.keep(borrowed)
    assert pool._kept is None
    assert driver.closed


def test_a_forked_child_leaves_the_parents_alone(database: Database) -> None:
    first = backend(database)
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(write, str(backend(database)).encode())
        finally:
            os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert int(os.read(read, 100)) != first
    os.close(read)
    os.close(write)
    assert backend(database) == first
    with database.reading() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
