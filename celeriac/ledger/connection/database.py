"""Connections to the ledger's database: how they are made, how long they may take, when they are dropped.

The ledger's statements are elsewhere.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection, QueuePool

from celeriac import private_files
from celeriac.errors import LedgerUnfit
from celeriac.ledger.connection import pool_rules, postgresql_session, schema_name, sqlite_session
from celeriac.ledger.connection.error_kinds import is_conflict
from celeriac.ledger.connection.keeping_pool import KeepingPool
from celeriac.ledger.connection.postgresql_session import connect_within
from celeriac.ledger.connection.watchdog import WATCHDOG

T = TypeVar("T")

#: Errors that mean that the database cannot be reached now; they are not about the statement.
UNREACHABLE = (OperationalError, InterfaceError, TimeoutError, ConnectionError, LedgerUnfit)

#: How long a connection lives. The database's clock is read at connect, and its drift is bounded by this.
_RECYCLE = 900  # seconds

#: Tries of a transaction that PostgreSQL ends because of another; the longest pause between two, in seconds.
_TRIES, _PAUSE = 5, 0.05

#: Of the time that a page's statement may take, what the server is given: it ends the statement, before the
#: connection is cut here and takes the reason along.
_SERVERS_SHARE = 0.8


class Database:
    """The ledger's database, for one process; a forked child makes connections of its own.

    Args:
        url: PostgreSQL (psycopg) or SQLite.
        schema: of PostgreSQL, in which the ledger's tables are; None: the first of the role's search_path.
        pool: connections of this process, at most.
        prepared: whether statements may be prepared on the server.
        patience: seconds to wait for a connection or for SQLite's write lock.
        generic_plans: PostgreSQL plans each statement once, and always through the key. For statements that
            name their rows by key, and nothing else. A plan that fits a table of three rows would otherwise
            stay in use while the table fills up.
        longest: seconds that a statement may take, and that its answer is waited for; None: no limit. It may
            be changed before the first use only.
    """

    def __init__(
        self,
        url: URL,
        schema: str | None = None,
        *,
        pool: int = 5,
        prepared: bool = True,
        patience: float = 1.5,
        generic_plans: bool = False,
        longest: float | None = None,
    ) -> None:
        self.url = url
        self.schema = schema
        self.longest = longest
        self._generic_plans = generic_plans
        self.dialect = url.get_backend_name()
        self._pool = pool
        self.prepares = prepared
        self._patience = patience
        self._closings = 0  # how often ``close`` was called
        self._interrupted = False  # whether SQLite, too, ends a statement that takes longer than ``longest``
        self._each: float | None = None  # seconds of a statement, where that is not most of ``longest``
        self._engine: Engine | None = None
        self._pid = 0
        self._locks: dict[int, threading.Lock] = {}
        self._inherited: list[Pool] = []

    def with_generic_plans(self) -> Database:
        """The same database through a connection with generic plans, for statements that name rows by key."""
        return Database(
            self.url,
            self.schema,
            pool=1,
            prepared=self.prepares,
            patience=self._patience,
            generic_plans=True,
            longest=self.longest,
        )

    def for_reading(self, *, within: float, pool: int, each: float | None = None) -> Database:
        """The same database through connections of its own, on which no statement takes longer.

        Args:
            within: seconds that a ``reading`` may take, before its connection is cut.
            each: seconds of a statement; None: most of ``within``. On SQLite, of all in a ``reading``.
        """
        given: Any = {"prepared": self.prepares, "patience": self._patience}
        made = Database(self.url, self.schema, pool=pool, longest=within, **given)
        made._interrupted, made._each = True, each
        return made

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
    def transaction(self, *, within: float | None = None, idle: float | None = None) -> Iterator[Connection]:
        """A durable write transaction, committed when the block ends well.

        Args:
            idle: seconds after which the server ends it, and gives its locks back, if this process sends
                nothing more. For locks that others wait for: who holds them may be frozen. PostgreSQL only.
            within: seconds after which the connection is cut, if it has not ended; ``longest`` otherwise.
                PostgreSQL only; SQLite is bounded by its own busy timeout.
        """
        with self._connected() as connection, self._watched(connection.connection, within):
            # BEGIN and COMMIT are sent here, because the connections are in autocommit: a single statement
            # then takes one round trip.
            connection.exec_driver_sql("; ".join(self.begin_texts(connection, idle)))
            try:
                if within is not None and within > (self.longest or within) and self.dialect != "sqlite":
                    connection.exec_driver_sql(postgresql_session.statement_limit(within))
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:  # whatever ends the block, the next user must not get its transaction
                roll_back(connection)
                raise

    def again(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` returns in a transaction of its own.

        It is tried again when PostgreSQL ends it because of another: a deadlock, a serialization failure.
        """
        for left in reversed(range(_TRIES)):
            try:
                with self.transaction() as connection:
                    return work(connection)
            except DBAPIError as exc:
                if not (left and is_conflict(exc)):
                    raise
            time.sleep(random.uniform(0, _PAUSE))
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def statement(self, *, within: float | None = None) -> Iterator[Connection]:
        """A connection whose statements are each a transaction of their own.

        Args:
            within: as of ``transaction``, for all of them.
        """
        with self._connected() as connection, self._watched(connection.connection, within):
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection of the pool, which is closed if the pool was given up before it came back."""
        engine = self.engine
        pool = engine.pool
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            if engine.pool is not pool:
                pool.dispose()

    @contextmanager
    def driver(self, *, until: float | None = None) -> Iterator[PoolProxiedConnection]:
        """A live connection of the pool, with the driver's own in it, for ``compiled_statement.py``.

        PostgreSQL only. Errors are the driver's. A connection that is lost in the block is dropped.

        Args:
            until: a moment of the monotonic clock at which the connection is cut; None: after ``longest``.
        """
        engine = self.engine
        pool = cast(KeepingPool, engine.pool)
        pooled = pool.borrow()
        driver: Any = pooled.driver_connection
        try:
            with self._watched(pooled, None if until is None else until - time.monotonic()):
                yield pooled
        except BaseException as exc:  # whatever ended the block, a closed connection must leave the pool
            if driver.closed:
                pooled.invalidate(exc)
            pooled.close()
            raise
        else:
            pool.keep(pooled)
        finally:
            if engine.pool is not pool:
                pool.dispose()

    def lend(self) -> PoolProxiedConnection | None:
        """A live connection of the pool, for as long as the caller likes; its ``close`` gives it back.

        PostgreSQL only. Nobody watches it. None: a pooler shares its session with others, or statements may
        not be prepared on it.
        """
        pooled = self.engine.raw_connection()
        if self.prepares and not pooled.info["pooled"]:
            return pooled
        pooled.close()
        return None

    @contextmanager
    def _watched(self, pooled: PoolProxiedConnection, within: float | None) -> Iterator[None]:
        """Cut the connection when the block takes too long, and then drop the idle ones as well."""
        bound = self.longest if within is None else within
        if bound is None or self.dialect == "sqlite":
            yield
            return
        driver: Any = pooled.driver_connection
        with WATCHDOG.watching(driver.fileno(), within=bound) as watch:
            try:
                yield
            finally:
                if watch.fired:  # the server, or a pooler before it, does not answer on any of them
                    self.close()

    #: A connection to read with; it takes no lock and holds no snapshot between statements.
    reading = statement

    def begin_texts(self, connection: Connection, idle: float | None) -> list[str]:
        """The statements that begin a transaction; ``idle`` as of ``transaction``."""
        # On SQLite a deferred transaction that reads first and writes later fails at once when
        # another wrote in between, whatever the busy timeout (sqlite.org/isolation.html).
        if self.dialect == "sqlite":
            return ["BEGIN IMMEDIATE"]
        pooled = connection.info.get("pooled")
        begin = postgresql_session.begin_texts(self.longest) if pooled else ["BEGIN"]
        return begin if idle is None else [*begin, postgresql_session.idle_limit(idle)]

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        if self._engine is not None and self._pid == os.getpid():
            self._closings += 1
            self._engine.dispose()
            self._closings += 1  # what was made meanwhile belongs to the pool that is given up

    def _make_for_this_process(self) -> None:
        pid = os.getpid()
        # Threads that come first at the same time make one engine. Each process has a lock of its own: one
        # that came along by fork may be held by a thread that only the parent has.
        with self._locks.setdefault(pid, threading.Lock()):
            if self._pid == pid:
                return
            if self._engine is not None:
                # Its sockets belong to the parent. What is kept there must not come back into that pool:
                # another thread of the parent may have held its locks.
                self._inherited.append(self._engine.pool)
                self._engine.dispose(close=False)
            self._engine = _create(self)
            self._pid = pid

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)})"


def server_clock(pooled: PoolProxiedConnection) -> float:
    """PostgreSQL's clock now, as seconds since 1970, from the reading taken at connect. No round trip."""
    return float(pooled.info["clock"]) + time.monotonic()


def roll_back(connection: Connection) -> None:
    """Roll back, or give up the connection: the pool must not reuse a transaction that is open."""
    if connection.invalidated or connection.closed:
        return
    try:
        connection.exec_driver_sql("ROLLBACK")
    except DBAPIError:
        connection.invalidate()


def _create(database: Database) -> Engine:
    sqlite = database.dialect == "sqlite"
    patience = database._patience
    engine = create_engine(
        database.url,
        hide_parameters=True,  # or errors and logs would show rows
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
        pool_size=database._pool,
        max_overflow=0,
        pool_timeout=patience,
        pool_recycle=-1 if sqlite else _RECYCLE,
        pool_use_lifo=True,
        poolclass=QueuePool if sqlite else KeepingPool,
        connect_args=sqlite_session.arguments(database._patience)
        if sqlite
        else _postgresql_arguments(database),
        execution_options=schema_name.options(database.schema),
    )
    pool_rules.keep_rollbacks_out_of_autocommit(engine)
    pool_rules.close_what_comes_back_late(engine, lambda: database._closings)
    if sqlite:
        private_files.make_file(
            Path(str(database.url.database))
        )  # SQLite gives its other files the same mode
        event.listen(engine, "connect", sqlite_session.prepare)
        if database._interrupted and (longest := database._each or database.longest) is not None:
            event.listen(engine, "checkout", sqlite_session.interrupting(longest))
        return engine
    generic_plans = database._generic_plans and database.prepares
    limit = database.longest
    if limit is not None and database._interrupted:
        limit = database._each or limit * _SERVERS_SHARE

    def connect(dialect: Any, entry: ConnectionPoolEntry, args: Any, params: Any) -> DBAPIConnection:
        def made() -> Any:
            driver = dialect.connect(*args, **params)
            with WATCHDOG.watching(driver.fileno(), within=patience):
                return postgresql_session.prepare(
                    driver, entry.info, longest=limit, generic_plans=generic_plans
                )

        return cast(DBAPIConnection, connect_within(patience, made, dialect.loaded_dbapi.OperationalError))

    event.listen(engine, "do_connect", connect)  # before SQLAlchemy sends queries of its own
    event.listen(engine, "checkout", pool_rules.refuse_if_closed)
    event.listen(engine, "checkin", pool_rules.drop_if_busy)
    event.listen(engine, "handle_error", postgresql_session.idle_end_as_unreachable, retval=True)
    return engine


def _postgresql_arguments(database: Database) -> dict[str, Any]:
    return {
        "application_name": "celeriac",
        "client_encoding": "utf8",  # wins over role and environment; PgBouncer keeps it, too
        "prepare_threshold": 5 if database.prepares else None,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 11_000,  # milliseconds; no keepalives are sent while data is unacknowledged
    }
