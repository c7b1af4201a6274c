"""The servers that all other tests stand on: start, restart, kill, freeze, and fresh databases."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, inspect, text

from tests.binaries import ServerMissing
from tests.processes import descendants, living
from tests.servers import PostgresServer, Server, ValkeyServer, connect
from tests.support import wait_until
from tests.workers import ROOT

_KINDS = [ValkeyServer, PostgresServer]
UNREACHABLE = (redis.ConnectionError, redis.TimeoutError, psycopg.OperationalError)


@pytest.fixture(scope="module", params=_KINDS)
def _server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as server:
        yield server


@pytest.fixture
def started(_server: Server) -> Server:
    """One server of each kind, running again whatever the test before did to it."""
    return _server if _server.running else _server.restart()


def ask(server: Server) -> int:
    """A round trip on a new connection."""
    if isinstance(server, ValkeyServer):
        with server.client(timeout=0.5) as client:
            return int(client.ping())
    assert isinstance(server, PostgresServer)
    libpq = server.url().replace("+psycopg", "")
    with psycopg.connect(libpq, connect_timeout=2) as connection:
        return connection.execute("SELECT 1").fetchone()[0]


def test_a_server_starts_quickly_and_comes_back_on_its_port(started: Server) -> None:
    assert ask(started) == 1
    port, pid = started.port, started.process.pid
    began = time.monotonic()
    started.restart()
    assert (started.port, ask(started)) == (port, 1)
    assert started.process.pid != pid
    assert time.monotonic() - began < 60  # a start takes a second, a hang is ended after minutes


def test_a_stopped_and_a_killed_server_refuse_connections(started: Server) -> None:
    started.stop()
    with pytest.raises(UNREACHABLE):
        ask(started)
    started.restart()
    started.kill()
    with pytest.raises(UNREACHABLE):
        ask(started)


def test_a_frozen_server_is_silent_and_goes_on_when_thawed(started: Server) -> None:
    started.freeze()
    with pytest.raises(UNREACHABLE):
        ask(started)
    started.thaw()
    assert ask(started) == 1


@pytest.mark.parametrize("kind", _KINDS)
def test_a_closed_server_leaves_no_process_and_no_file(kind: type[Server]) -> None:
    with kind() as server:
        tree = server.process.tree()
        server.freeze()
    assert not living(tree)
    assert not server.home.exists()


def test_a_port_that_is_taken_is_said(started: Server) -> None:
    with pytest.raises(ServerMissing, match=f"name one that may be used in {started.variable}"):
        type(started)(port=started.port).__enter__()


def test_only_a_persistent_valkey_keeps_its_data() -> None:
    for persistent in (False, True):
        with ValkeyServer(persistent=persistent) as server:
            with server.client(db=3) as client:
                client.set("key", "value")
            server.kill()
            server.restart()
            with server.client(db=3) as client:
                assert client.exists("key") == persistent
            server.restart(empty=True)
            with server.client(db=3) as client:
                assert not client.exists("key")


def test_a_valkey_is_configured_while_it_runs(private_valkey: ValkeyServer) -> None:
    private_valkey.configure(maxmemory="1")  # byte
    with private_valkey.client() as client, pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("key", "value")


def test_a_killed_postgresql_keeps_every_commit(private_postgres: PostgresServer) -> None:
    with private_postgres.connect() as connection:
        connection.execute("CREATE TABLE kept (number int)")
        for number in range(200):
            connection.execute("INSERT INTO kept VALUES (%s)", (number,))
        private_postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    private_postgres.restart()
    with private_postgres.connect() as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (200,)


def test_postgresql_stops_although_a_client_stays(private_postgres: PostgresServer) -> None:
    with private_postgres.connect():
        private_postgres.stop()
    assert not private_postgres.running


def test_the_connection_limit_of_postgresql_is_ours_to_set() -> None:
    with PostgresServer(max_connections=5) as server, closing(server.connect()) as first:
        others = [server.connect() for _ in range(4)]
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            server.connect()
        assert first.execute("SHOW max_connections").fetchone() == ("5",)
        for connection in others:
            connection.close()


def test_every_setting_that_makes_a_commit_durable_is_on_when_asked_for() -> None:
    with PostgresServer(durable=True) as server, server.connect() as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",)


@pytest.mark.parametrize("turn", [1, 2])
def test_a_ledger_is_migrated_and_empty_for_every_test(database_url: str, turn: int) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        assert "background_jobs" in inspect(connection).get_table_names()
        assert "left_over" not in inspect(connection).get_table_names()
        assert connection.scalar(text("SELECT count(*) FROM background_jobs")) == 0
        connection.execute(text("CREATE TABLE left_over (number int)"))
    engine.dispose()


def test_a_bare_database_has_no_table(bare_database_url: str) -> None:
    engine = create_engine(bare_database_url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()


@pytest.mark.parametrize("turn", [1, 2])
def test_a_redis_database_is_empty_for_every_test(redis_url: str, turn: int) -> None:
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


def test_an_open_connection_does_not_keep_a_database(private_postgres: PostgresServer) -> None:
    with closing(connect(private_postgres.create_database("held"))) as connection:
        private_postgres.drop_database("held")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


_OWNER = """
import sys, time
from tests.servers import PostgresServer, ValkeyServer
servers = [ValkeyServer().start(), PostgresServer().start()]
if sys.argv[1] == "frozen":
    [server.freeze() for server in servers]
print(*(server.home for server in servers), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["running", "frozen"])
def test_the_servers_die_with_the_tests(state: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, state], cwd=ROOT, stdout=subprocess.PIPE, text=True, process_group=0
    )
    with owner:
        assert owner.stdout is not None
        homes = [Path(word) for word in owner.stdout.readline().split()]
        tree = descendants(owner.pid)
        assert len(homes) == 2 <= len(tree)
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not living(tree), within=15, saying="every server is gone")
    _sweep_now()
    assert not any(home.exists() for home in homes)


def _sweep_now() -> None:
    """What the next run does first."""
    subprocess.run(
        [sys.executable, "-c", "from tests.processes import scratch; scratch('x'); scratch('x', fast=True)"],
        cwd=ROOT,
        check=True,
    )
