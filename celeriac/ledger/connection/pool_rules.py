"""What a pool asks of its connections: which is taken, and which is not given back."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

#: PQTRANS_IDLE (postgresql.org/docs/current/libpq-status.html).
_IDLE = 0


def refuse_if_closed(
    connection: DBAPIConnection, entry: ConnectionPoolEntry, proxy: PoolProxiedConnection
) -> None:
    """Have the pool choose another connection, if the server has closed this idle one."""
    if is_closed(connection):
        raise DisconnectionError


def is_closed(driver: Any) -> bool:
    """Whether psycopg's idle connection ``driver`` is closed, by whoever was lent it or by the server.

    Only a closed one has something to read, so that no round trip is needed.
    """
    if driver.closed:
        return True
    poller = select.poll()
    poller.register(driver.fileno(), select.POLLIN | select.POLLHUP)
    return bool(poller.poll(0))


def drop_if_busy(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    """Drop a connection that a time limit interrupted in a transaction, or before its answer was read."""
    if connection is not None and is_busy(connection):
        entry.invalidate()


def is_busy(driver: Any) -> bool:
    """Whether psycopg's connection ``driver`` is lost, or in a transaction, or has an answer to come."""
    return bool(driver.pgconn.transaction_status != _IDLE or driver.pgconn.pipeline_status)


def keep_rollbacks_out_of_autocommit(engine: Engine) -> None:
    """Let SQLAlchemy roll back only where it began a transaction: what we begin by hand, we end by hand.

    ``create_engine(skip_autocommit_rollback=True)`` does the same, from SQLAlchemy 2.0.43 on.
    """
    plain = engine.dialect.do_rollback
    sqlite = engine.dialect.name == "sqlite"

    def do_rollback(dbapi_connection: Any) -> None:
        if not (dbapi_connection.isolation_level is None if sqlite else dbapi_connection.autocommit):
            plain(dbapi_connection)

    engine.dialect.do_rollback = do_rollback  # type: ignore[method-assign]  # of this engine alone


def close_what_comes_back_late(engine: Engine, closings: Callable[[], int]) -> None:
    """Close a connection that was in use, or made, during a ``close``: its pool is given up.

    Args:
        closings: how often the pool was closed.
    """

    def begin(dialect: Any, entry: ConnectionPoolEntry, args: Any, params: Any) -> None:
        entry.info["closings"] = closings()

    def checkin(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
        if connection is not None and entry.info.get("closings") != closings():
            entry.invalidate()

    event.listen(engine, "do_connect", begin)
    event.listen(engine, "checkin", checkin)
