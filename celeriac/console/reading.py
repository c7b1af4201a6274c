"""The app as pages read through it: statements are short, and a broker that does not answer is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from celeriac.broker_state import BrokerState

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Seconds that a statement of a page may take.
LONGEST = 1.8

#: The same of one that is tried before another, which costs less: it must not cost much in vain.
IMPATIENT = 0.4

#: Connections for all open pages.
_POOL = 8


def for_reading(app: Celeriac, *, within: float = LONGEST, pool: int = _POOL) -> Celeriac:
    """``app``, whose ledger is read through connections of their own.

    Args:
        within: seconds that a statement may take.
    """
    return cast("Celeriac", _ReadingApp(app, within=within, pool=pool))


class _ReadingApp:
    """All of the app, but for how it reaches its servers."""

    def __init__(self, app: Celeriac, *, within: float, pool: int) -> None:
        self._app = app
        self._broker = BrokerState()
        self.database = app.database.for_reading(within=within, pool=pool)

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
