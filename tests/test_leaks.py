"""A test that leaves something behind fails itself, and those after it do not."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from tests.inner_run import outcomes

_TESTS = """
import threading
from contextlib import closing

import pytest
from sqlalchemy import make_url
from sqlalchemy.pool import NullPool

from celeriac.ledger.connection.database import Database


def used(folder):
    database = Database(make_url(f"sqlite:///{folder}/ledger.db"))
    with database.statement() as connection:
        connection.exec_driver_sql("SELECT 1")
    return database

@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with closing(used(tmp_path_factory.mktemp("shared"))) as database:
        yield database

@pytest.fixture(scope="module")
def forgotten(tmp_path_factory):
    used(tmp_path_factory.mktemp("forgotten"))

def test_that_leaves_a_connection(tmp_path):
    used(tmp_path)

def test_that_keeps_one_busy(tmp_path):
    used(tmp_path).engine.connect()

def test_that_closes_it(tmp_path):
    used(tmp_path).close()

def test_that_shares_one(shared):
    assert shared.engine.pool.checkedin() == 1

def test_that_shares_it_too(shared):
    with shared.statement(): pass

@pytest.fixture(scope="module")
def lazy(tmp_path_factory):
    with closing(Database(make_url(f"sqlite:///{tmp_path_factory.mktemp('lazy')}/ledger.db"))) as database:
        yield database

def test_that_connects_what_is_shared(lazy):
    with lazy.statement() as connection:
        connection.exec_driver_sql("SELECT 1")

def test_that_finds_it_connected(lazy):
    assert lazy.engine.pool.checkedin() == 1

def test_that_leaves_a_thread():
    end = threading.Event()
    threading.Thread(target=end.wait, args=[60], name="ledger-x", daemon=True).start()

def test_that_ends_the_thread():
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()

def test_of_a_module_that_leaves_a_connection(forgotten): pass
"""

_PROCESS = """
import subprocess

def test_that_starts_one():
    subprocess.Popen(["sleep", "5"])

def test_that_comes_last(): pass
"""

_SOCKET = """
import gc
import socket
from contextlib import closing

class Owner: pass

def test_that_leaves_a_socket_to_the_garbage_collector(request):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        owner = Owner()
        owner.itself = owner
        owner.socket = socket.create_connection(server.getsockname())
        request.config.owned = owner.socket.fileno()
        server.accept()[0].close()

def test_in_whose_middle_it_is_collected():
    gc.collect()
"""

_AFTER_IT = """
import os

def test_that_comes_in_the_next_module(request):
    try:
        left = os.readlink(f"/proc/self/fd/{request.config.owned}")
    except FileNotFoundError:
        left = ""
    assert not left.startswith("socket")
"""

_PLUGIN = ("-p", "tests.leaks", "-o", "lingering=0.1")


def test_who_leaves_a_connection_or_a_thread_fails_alone(tmp_path: Path) -> None:
    assert outcomes(tmp_path, _TESTS, *_PLUGIN) == {
        "that_leaves_a_connection": {"PASSED", "ERROR"},
        "that_keeps_one_busy": {"PASSED", "ERROR"},
        "that_closes_it": {"PASSED"},
        "that_shares_one": {"PASSED"},
        "that_shares_it_too": {"PASSED"},
        "that_connects_what_is_shared": {"PASSED"},
        "that_finds_it_connected": {"PASSED"},
        "that_leaves_a_thread": {"PASSED", "ERROR"},
        "that_ends_the_thread": {"PASSED"},
        "of_a_module_that_leaves_a_connection": {"PASSED", "ERROR"},
    }


def test_a_module_that_leaves_a_process_fails_at_its_end(tmp_path: Path) -> None:
    found = outcomes(tmp_path, _PROCESS, *_PLUGIN)
    assert found == {"that_starts_one": {"PASSED"}, "that_comes_last": {"PASSED", "ERROR"}}


def test_a_transaction_is_left_that_stands_and_not_one_that_ends(postgres_url: str) -> None:
    from tests.leaks import open_transactions
    from tests.servers import connect

    with closing(connect(postgres_url)) as left:
        left.execute("BEGIN")
        left.execute("SELECT 1")
        ends = threading.Timer(0.3, lambda: left.execute("COMMIT"))
        ends.start()
        assert open_transactions(postgres_url) == []
        ends.join()
        left.execute("BEGIN")
        left.execute("SELECT 2")
        assert open_transactions(postgres_url, within=0.2) == ["SELECT 2"]


def test_a_socket_without_an_owner_is_closed_at_the_end_of_its_module(tmp_path: Path) -> None:
    (tmp_path / "test_later.py").write_text(_AFTER_IT)
    unclosed = ("-W", "error::pytest.PytestUnraisableExceptionWarning", "-W", "error::ResourceWarning")
    found = outcomes(tmp_path, _SOCKET, *_PLUGIN, *unclosed)
    assert set.union(*found.values()) == {"PASSED"}, found
