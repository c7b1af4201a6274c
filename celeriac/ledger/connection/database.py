"""Connections to the ledger's database: how they are made, how long they may take, when they are dropped.

No statement of the ledger stands here.
"""

from __future__ import annotations

import os
import select
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from celeriac import private_files
from celeriac.ledger.connection.watchdog import WATCHDOG

#: Errors that say that the database cannot be reached now, and nothing of the statement.
UNREACHABLE = (OperationalError, InterfaceError, TimeoutError, ConnectionError)

#: How long a connection lives. The database's clock is read when it is made: this bounds the drift.
_RECYCLE = 900  # seconds

#: Of PostgreSQL. A plan for each execution takes as long as the execution, when it is of a few rows.
_PLANS = (
    "plan_cache_mode = force_generic_plan",
    "enable_seqscan = off",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
)


#: PQTRANS_IDLE (postgresql.org/docs/current/libpq-status.html).
_IDLE = 0


class Database:
    """The ledger's database, for one process; a forked child makes connections of its own.

    Args:
        url: PostgreSQL (psycopg) or SQLite.
        pool: connections of this process, at most.
        prepared: whether statements may be prepared on the server.
        patience: seconds to wait for a connection or for SQLite's write lock.
        by_key: for statements that name their rows by key, and nothing else: PostgreSQL plans each of them
            once, and in no other way than through the key. What fits a table of three rows would otherwise
            stay in use while it fills up.
    """

    def __init__(
        self,
        url: URL,
        *,
        pool: int = 5,
        prepared: bool = True,
        patience: float = 1.5,
        by_key: bool = False,
    ) -> None:
        self.url = url
        self._by_key = by_key
        self.dialect = url.get_backend_name()
        self._pool = pool
        self._prepared = prepared
        self._patience = patience
        self._engine: Engine | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def by_key(self) -> Database:
        """The same database, through one connection of its own, for statements that name rows by key."""
        return Database(self.url, pool=1, prepared=self._prepared, patience=self._patience, by_key=True)

    @property
    def engine(self) -> Engine:
        if self._pid != os.getpid():
            self._make_for_this_process()
        assert self._engine is not None
        return self._engine

    @property
    def errors(self) -> Any:
        """The driver's module, with the errors that ``driver`` raises."""
        return self.engine.dialect.loaded_dbapi

    @contextmanager
    def transaction(self, *, within: float | None = None) -> Iterator[Connection]:
        """A durable write transaction, committed when the block ends well.

        Args:
            within: seconds after which the connection is cut, if it has not ended. PostgreSQL only; SQLite is
                bounded by its own busy timeout.
        """
        with self.engine.connect() as connection, self._watched(connection, within):
            # Begun and ended by hand: the connections stay in autocommit, so that a single
            # statement pays for nothing but itself.
            connection.exec_driver_sql(self._begin)
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """A connection whose statements are each a transaction of their own."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def driver(self) -> Iterator[PoolProxiedConnection]:
        """The driver's own connection, alive when it is handed out, for ``celeriac.ledger.connection.compiled_statement``.

        PostgreSQL only. Errors are the driver's; a connection that is lost in the block is dropped.
        """
        pooled = self.engine.raw_connection()
        driver: Any = pooled.driver_connection
        try:
            yield pooled
        except BaseException as exc:
            if driver.closed:
                pooled.invalidate(exc)
            raise
        finally:
            pooled.close()

    def _watched(self, connection: Connection, within: float | None) -> AbstractContextManager[object]:
        if within is None or self.dialect == "sqlite":
            return nullcontext()
        driver: Any = connection.connection.driver_connection
        return WATCHDOG.watching(driver.fileno(), within=within)

    #: A connection to read with; it takes no lock and holds no snapshot between statements.
    reading = statement

    @property
    def _begin(self) -> str:
        # On SQLite a deferred transaction that reads first and writes later fails at once when
        # another wrote in between, whatever the busy timeout (sqlite.org/isolation.html).
        return "BEGIN IMMEDIATE" if self.dialect == "sqlite" else "BEGIN"

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()

    def _make_for_this_process(self) -> None:
        with self._lock if self._pid == 0 else threading.Lock():
            if self._pid == os.getpid():
                return
            if self._engine is not None:
                # Inherited by fork: the sockets belong to the parent, and so does the lock's state.
                self._engine.dispose(close=False)
                self._lock = threading.Lock()
            self._engine = _create(self)
            self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)})"


def server_clock(pooled: PoolProxiedConnection) -> float:
    """PostgreSQL's clock now, as seconds since 1970, from the reading taken at connect. No round trip."""
    assert pooled.record_info is not None
    return float(pooled.record_info["clock"]) + time.monotonic()


def _refuse_if_closed(
    connection: DBAPIConnection, entry: ConnectionPoolEntry, proxy: PoolProxiedConnection
) -> None:
    """Hand out another, if the server has closed an idle connection, which only then has something to read.

    No round trip.
    """
    driver: Any = connection
    poller = select.poll()
    poller.register(driver.fileno(), select.POLLIN | select.POLLHUP)
    if poller.poll(0):
        raise DisconnectionError


def _drop_if_busy(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    """What a time limit cut short, nobody shall inherit: in a transaction, or before its answer was read."""
    driver: Any = connection
    if driver is not None and driver.pgconn.transaction_status != _IDLE:
        entry.invalidate()


def _roll_back(connection: Connection) -> None:
    if connection.invalidated or connection.closed:
        return
    try:
        connection.exec_driver_sql("ROLLBACK")
    except DBAPIError:
        connection.invalidate()  # whatever it was doing, nobody shall inherit it


def _create(database: Database) -> Engine:
    sqlite = database.dialect == "sqlite"
    engine = create_engine(
        database.url,
        hide_parameters=True,  # or errors and logs would show rows
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        pool_size=database._pool,
        max_overflow=0,
        pool_timeout=database._patience,
        pool_recycle=-1 if sqlite else _RECYCLE,
        pool_use_lifo=True,
        connect_args=_sqlite_arguments(database) if sqlite else _postgresql_arguments(database),
    )
    if sqlite:
        private_files.make_file(Path(str(database.url.database)))  # its other files follow its mode
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    patience = database._patience

    def connect_in_time(dialect: Any, entry: ConnectionPoolEntry, args: Any, params: Any) -> DBAPIConnection:
        # libpq takes at least two seconds to give up on a server that accepts and stays silent.
        return _within(patience, lambda: dialect.connect(*args, **params), dialect)

    event.listen(engine, "do_connect", connect_in_time)
    event.listen(engine, "connect", _read_clock)
    event.listen(engine, "checkout", _refuse_if_closed)
    event.listen(engine, "checkin", _drop_if_busy)
    if database._by_key and database._prepared:
        event.listen(engine, "connect", _plan_once)
    return engine


def _sqlite_arguments(database: Database) -> dict[str, Any]:
    return {"timeout": database._patience, "check_same_thread": False}


def _postgresql_arguments(database: Database) -> dict[str, Any]:
    return {
        "application_name": "celeriac",
        "prepare_threshold": 5 if database._prepared else None,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 11_000,  # milliseconds; while an answer is waited for, there are no keepalives
    }


def _within(patience: float, connect: Any, dialect: Any) -> DBAPIConnection:
    outcome: list[Any] = []
    gave_up = threading.Event()
    done = threading.Event()

    def attempt() -> None:
        try:
            made = connect()
            if gave_up.is_set():
                made.close()
            outcome.append(made)
        except BaseException as exc:  # handed to the caller, whatever it is
            outcome.append(exc)
        done.set()

    threading.Thread(target=attempt, name="ledger-connect", daemon=True).start()
    if not done.wait(patience):
        gave_up.set()
        raise dialect.loaded_dbapi.OperationalError(f"no connection within {patience:g} seconds")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    made: DBAPIConnection = outcome[0]
    return made


def _read_clock(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    before = time.monotonic()
    cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
    middle = (before + time.monotonic()) / 2
    assert entry.record_info is not None
    entry.record_info["clock"] = cursor.fetchall()[0][0] - middle
    cursor.close()
    connection.rollback()


def _plan_once(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    driver: Any = connection
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    if (
        cursor.fetchall()[0][0] == driver.info.backend_pid
    ):  # or a pooler would hand the session on as it is then
        for setting in _PLANS:
            cursor.execute(f"SET {setting}")
    cursor.close()
    connection.rollback()


def _prepare_sqlite(connection: Any, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver must not begin on its own
    connection.create_function("clock_us", 0, lambda: time.time_ns() // 1000)
    _into_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _into_wal(connection: Any) -> None:
    """Set a new file to WAL; SQLite does not wait for others there, whatever the busy timeout."""
    for left in reversed(range(100)):
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(0.02)
