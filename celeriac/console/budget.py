"""How often shared values may be read, so that all together cost the database no more than so much."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol
from weakref import WeakSet

#: Seconds of the database's time in each second that all shared values of a console may cost together,
#: whoever looks at which pages.
TOGETHER = 0.03


class Metered(Protocol):
    """A value that is read again and again."""

    @property
    def every(self) -> float:
        """Seconds between two reads, at the least."""

    @property
    def cost(self) -> float:
        """Seconds that a read takes."""

    @property
    def in_use(self) -> bool:
        """Whether somebody has asked for it lately."""


class Budget:
    """What some values may cost together.

    Args:
        together: seconds in each second.
        clock: by which a read is timed, in the thread that makes it.
    """

    def __init__(self, together: float = TOGETHER, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._together = together
        self.clock = clock
        self._lock = threading.Lock()
        self._values: WeakSet[Metered] = WeakSet()

    def join(self, value: Metered) -> None:
        with self._lock:
            self._values.add(value)

    def pause(self, value: Metered) -> float:
        """Seconds from one read of it to the next."""
        with self._lock:
            known = list(self._values)
        wanted = [_wanted(each) for each in known if each.in_use or each is value]
        return max(value.every, value.cost / fair_share(wanted, self._together))


def fair_share(wanted: Sequence[float], together: float) -> float:
    """The most that one of them may have, if those that want less are given that, and the others the same.

    >>> fair_share([1, 2, 30, 40], 23)
    10.0
    >>> fair_share([1, 2], 23)
    inf
    """
    left = together
    for number, each in enumerate(sorted(wanted)):
        part = left / (len(wanted) - number)
        if each >= part:
            return part
        left -= each
    return float("inf")


def _wanted(value: Metered) -> float:
    """The share of the time that its reads would take if it were read as often as it wants."""
    return value.cost / value.every if value.every else float("inf")
