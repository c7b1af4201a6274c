"""Connections to PostgreSQL that are of no use any more: nobody is handed one."""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, make_url
from sqlalchemy.exc import OperationalError

from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.postgresql_session import connect_within
from tests.processes import Process
from tests.support import wait_until
from tests.workers import ROOT


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(Database(make_url(postgres_url), pool=1)) as database:
        yield database


def driver_of(connection: Connection) -> Any:
    return connection.connection.driver_connection


def pid_of(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def test_one_whose_answer_was_not_read_is_dropped(database: Database) -> None:
    """As a soft time limit leaves it, which psycopg does not know of."""
    with database.statement() as connection:
        first = pid_of(connection)
        driver_of(connection).pgconn.send_query(b"SELECT pg_sleep(30)")
    with database.statement() as connection:
        assert pid_of(connection) != first


def test_one_in_a_transaction_is_dropped(database: Database) -> None:
    with database.statement() as connection:
        first = pid_of(connection)
        connection.exec_driver_sql("BEGIN")
    with database.statement() as connection:
        assert pid_of(connection) != first


def test_one_that_was_closed_here_is_dropped(database: Database) -> None:
    with database.statement() as connection:
        first = pid_of(connection)
        kept = driver_of(connection)
    kept.close()
    with database.statement() as connection:
        assert pid_of(connection) != first


def test_one_that_comes_back_while_all_are_closed_is_closed(database: Database) -> None:
    """As when another thread finds out that the server is silent."""
    with database.statement() as connection:
        driver = driver_of(connection)
        event.listen(database.engine, "checkin", lambda *_: database.close(), once=True)
    assert driver.closed


def test_one_that_is_made_at_the_last_moment_is_used_or_closed() -> None:
    class Made:
        closed = False

        def close(self) -> None:
            self.closed = True

    patience, made, used = 0.002, [], []

    def connect() -> Made:
        time.sleep(random.uniform(0.5, 1.5) * patience)
        made.append(Made())
        return made[-1]

    for _ in range(300):
        with suppress(OSError):
            used.append(connect_within(patience, connect, OSError))
    wait_until(
        lambda: len(made) == 300 and sum(each.closed for each in made) + len(used) == 300,
        within=10,
        saying="each is used or closed",
    )
    assert not any(each.closed for each in used)


STOPPED = """
import socket, sys, threading, time
from celeriac.ledger.connection.watchdog import WATCHDOG

def tick():
    while True:
        time.sleep(0.1)
        print("tick", flush=True)

ours = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
threading.Thread(target=tick, daemon=True).start()
with WATCHDOG.watching(ours.fileno(), within=1.5) as watch:
    ours.sendall(b"asked")
    print(ours.recv(100).decode() or "silence", watch.fired, flush=True)
"""


@pytest.mark.parametrize("answered", [True, False], ids=["an answer", "none"])
def test_time_for_which_this_process_stood_still_is_not_the_servers(answered: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [sys.executable, "-c", STOPPED, str(server.getsockname()[1])]
        with Process(argv, log=log, cwd=ROOT) as client:
            answering, _ = server.accept()
            with answering:
                assert answering.recv(100) == b"asked"
                client.freeze()
                until = time.monotonic() + 2
                wait_until(lambda: time.monotonic() > until, within=4, saying="longer than it may take")
                ticks = log.read_text().count("tick")
                client.thaw()
                if answered:
                    wait_until(
                        lambda: log.read_text().count("tick") > ticks + 4, within=5, saying="it runs again"
                    )
                    answering.sendall(b"answered")
                assert client.wait(100) == 0
    said = [line for line in log.read_text().splitlines() if line != "tick"]
    assert said == ["answered False" if answered else "silence True"]


def test_one_that_the_server_has_closed_is_not_noticed(database: Database, postgres_url: str) -> None:
    with database.statement() as connection:
        first = pid_of(connection)
    with closing(Database(make_url(postgres_url))) as beside, beside.statement() as connection:
        assert connection.exec_driver_sql(f"SELECT pg_terminate_backend({first}, 5000)").scalar()
    with database.transaction() as connection:
        assert pid_of(connection) != first


def test_one_is_kept_that_was_used_in_order(database: Database) -> None:
    with database.statement() as connection:
        first = pid_of(connection)
    with database.transaction() as connection:
        assert pid_of(connection) == first


def test_one_that_is_in_use_while_all_are_closed_is_closed_after_its_use(database: Database) -> None:
    with database.statement() as connection:
        first, driver = pid_of(connection), driver_of(connection)
        database.close()
        assert pid_of(connection) == first
    assert driver.closed
    with database.statement() as connection:
        assert pid_of(connection) != first


def test_a_transaction_that_takes_too_long_is_cut(database: Database) -> None:
    began = time.monotonic()
    with pytest.raises(OperationalError), database.transaction(within=0.2) as connection:
        connection.exec_driver_sql("SELECT pg_sleep(30)")
    assert time.monotonic() - began < 15


def test_a_host_that_is_gone_is_given_up_in_seconds(database: Database) -> None:
    """Whatever was sent to it and not acknowledged: keepalives are not sent meanwhile."""
    with database.statement() as connection:
        told = driver_of(connection).info.get_parameters()
    assert (told["tcp_user_timeout"], told["keepalives_idle"]) == ("11000", "5")


def test_the_threads_of_a_forked_child_share_one_engine(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the connections of those that lost the race would be nobody's."""
    made: list[Any] = []
    another = threading.Event()

    def slowly(*args: Any, **options: Any) -> Any:
        made.append(create_engine(*args, **options))
        if len(made) > 2:
            another.set()
        if len(made) > 1:  # in the child, where another thread may come now
            another.wait(0.5)
        return made[-1]

    monkeypatch.setattr("celeriac.ledger.connection.database.create_engine", slowly)
    inherited = database.engine
    database._pid = os.getppid()  # as in a child that was forked after the first use
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: database.engine, range(2)))
    assert found[0] is found[1] is made[1] is not inherited
    assert len(made) == 2
