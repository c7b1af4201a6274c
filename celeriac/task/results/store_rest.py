"""Back off from a result store that failed: a frozen store must not cost every job its time-out."""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.exceptions import ConnectionError

_FIRST, _LONGEST = 2.0, 30.0  # seconds


class StoreRests(ConnectionError):
    """The result store failed a moment ago and is not asked now."""


class Rest:
    """The back-off of one store in one process, longer after each further failure."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._length = 0.0

    @property
    def resting(self) -> bool:
        return self._clock() < self._until

    def check(self) -> None:
        """Raise StoreRests during the back-off."""
        if self.resting:
            raise StoreRests("the result store did not answer")

    def failed(self) -> None:
        """Note that the store did not answer."""
        if not self.resting:
            self._length = min(max(self._length * 2, _FIRST), _LONGEST)
            self._until = self._clock() + self._length

    def answered(self) -> None:
        self._length = 0.0
