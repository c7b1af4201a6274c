"""When a result store that failed is asked again: a frozen one must not cost every job its time-out."""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.exceptions import ConnectionError

_FIRST, _LONGEST = 2.0, 30.0  # seconds


class StoreRests(ConnectionError):
    """The result store did not answer a moment ago, and is left alone for now."""


class Rest:
    """Of one store, in one process. It is left alone after a failure, for longer after each further one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._length = 0.0

    @property
    def resting(self) -> bool:
        return self._clock() < self._until

    def check(self) -> None:
        """Raise StoreRests while the store is left alone."""
        if self.resting:
            raise StoreRests("the result store did not answer")

    def failed(self) -> None:
        """It did not answer."""
        if not self.resting:
            self._length = min(max(self._length * 2, _FIRST), _LONGEST)
            self._until = self._clock() + self._length

    def answered(self) -> None:
        self._length = 0.0
