"""A pool that keeps a connection at hand for those who borrow one call after another.

SQLAlchemy checks a connection out and in with as much work as it takes to send a statement.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from celeriac.ledger.connection.pool_rules import is_busy, is_closed

#: Seconds after which a connection that is kept goes through the pool, which replaces what is too old.
_LONGEST = 60.0

_UNTIL = "kept_until"  # among the facts about a connection


class KeepingPool(QueuePool):
    """At most one connection is kept between two borrowers, of any threads. It counts as checked out.

    Whoever else wants a connection has it given back first: nobody waits for one that nobody uses.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deciding = threading.Lock()
        self._kept: PoolProxiedConnection | None = None
        self._wanting = 0  # how many wait for a connection, or are about to
        self._given_up = False

    def borrow(self) -> PoolProxiedConnection:
        """As ``connect``, or the one that was kept. PostgreSQL only; it is given back by ``keep``."""
        with self._deciding:
            kept, self._kept = self._kept, None
        if kept is not None:
            if time.monotonic() < kept.info[_UNTIL] and not is_closed(kept.driver_connection):
                return kept
            kept.close()
        made = self.connect()
        made.info[_UNTIL] = time.monotonic() + _LONGEST
        return made

    def keep(self, pooled: PoolProxiedConnection) -> None:
        """Give back one that was borrowed and works."""
        if not is_busy(pooled.driver_connection):
            with self._deciding:
                if self._kept is None and not (self._wanting or self._given_up):
                    self._kept = pooled
                    return
        pooled.close()

    def connect(self) -> PoolProxiedConnection:
        with self._deciding:
            self._wanting += 1
            kept, self._kept = self._kept, None
        try:
            if kept is not None:
                kept.close()
            return super().connect()
        finally:
            with self._deciding:
                self._wanting -= 1

    def dispose(self) -> None:
        """As SQLAlchemy's; none is kept from now on."""
        with self._deciding:
            self._given_up = True
            kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
        super().dispose()
