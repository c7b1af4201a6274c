"""Set up a new connection to SQLite: durable, and without transactions of the driver's own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

#: Instructions between two looks at the clock, some milliseconds.
_INSTRUCTIONS = 10_000


def arguments(patience: float) -> dict[str, Any]:
    """Arguments of ``connect``.

    Args:
        patience: seconds to wait for the write lock.
    """
    return {"timeout": patience, "check_same_thread": False}


def prepare(connection: Any, entry: ConnectionPoolEntry) -> None:
    """Make it durable, and give it the clock."""
    connection.isolation_level = None  # the driver must not begin on its own
    connection.create_function("clock_us", 0, lambda: time.time_ns() // 1000)
    _into_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def interrupting(longest: float) -> Callable[[Any, Any, Any], None]:
    """What makes SQLite end the statements of a connection so long after it was taken from the pool."""

    def checkout(connection: Any, entry: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
        ends = time.monotonic() + longest
        connection.set_progress_handler(lambda: time.monotonic() > ends, _INSTRUCTIONS)

    return checkout


def _into_wal(connection: Any) -> None:
    """Set a new file to WAL. SQLite does not wait for other processes there, so it is tried again."""
    for left in reversed(range(100)):
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(0.02)
