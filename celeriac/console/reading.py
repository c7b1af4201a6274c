"""The app as pages read through it: statements are short, and a broker that does not answer is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from celeriac.broker_state import BrokerState

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac
    from celeriac.ledger.connection.database import Database

#: Seconds that a statement of a page may take.
LONGEST = 1.8

#: The same of one that is tried before another, which costs less: it must not cost much in vain.
IMPATIENT = 0.6

#: Connections for all open pages.
_POOL = 8


class DatabaseTime(threading.local):
    """A clock that goes while its thread reads the ledger: what costs the database nothing is free."""

    _seconds, _depth = 0.0, 0

    def __call__(self) -> float:
        return self._seconds

    @contextmanager
    def going(self) -> Iterator[None]:
        began, self._depth = time.monotonic(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:  # a read within a read is a part of it
                self._seconds += time.monotonic() - began


def for_reading(
    app: Celeriac, *, each: float | None = None, pool: int = _POOL, clock: DatabaseTime | None = None
) -> Celeriac:
    """``app``, whose ledger is read through connections of their own.

    Args:
        each: seconds that a statement may take.
        clock: goes while it is read.
    """
    return cast("Celeriac", _ReadingApp(app, each=each, pool=pool, clock=clock or DatabaseTime()))


class _ReadingApp:
    """All of the app, but for how it reaches its servers."""

    def __init__(self, app: Celeriac, *, each: float | None, pool: int, clock: DatabaseTime) -> None:
        self._app = app
        self._broker = BrokerState()
        database = app.database.for_reading(within=LONGEST, pool=pool, each=each)
        self.database = _ReadingDatabase(database, clock)

    @contextmanager
    def connection_or_acquire(self) -> Iterator[Any]:
        """A connection to the broker. After a failure it is not tried again for some seconds."""
        if self._broker.resting:
            raise ConnectionError("the broker did not answer a moment ago")
        try:
            with self._app.connection_or_acquire() as connection:
                yield connection
        except self._app.broker_errors:
            self._broker.failed()
            raise
        self._broker.worked()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


class _ReadingDatabase:
    """All of a database, but for the clock that goes while it is read."""

    def __init__(self, database: Database, clock: DatabaseTime) -> None:
        self._database = database
        self._clock = clock

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._clock.going(), self._database.reading() as connection:
            yield connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)
