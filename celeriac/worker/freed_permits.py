"""Permits that a worker's jobs have given back, until others are woken for them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

#: Seconds for which permits are gathered. Short jobs would else be admitted by twos and threes, each time in
#: a transaction of its own.
GATHERED = 0.05


class FreedPermits:
    """``add`` is called by the ledger thread, ``take`` by the keeper's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._freed: Counter[str] = Counter()
        self._taken_at = 0.0

    def add(self, permits: Iterable[str], *, enough: Callable[[str], int]) -> bool:
        """Note them; return whether it is time to look: otherwise a look is to come that takes them.

        Args:
            enough: as of ``take``.
        """
        permits = list(permits)
        with self._lock:
            waits = any(self._freed.values())
            self._freed.update(permits)
            mine = set(permits)
            return bool(mine) and (not waits or any(self._freed[name] >= enough(name) for name in mine))

    def take(self, now: float, *, enough: Callable[[str], int]) -> tuple[set[str], float | None]:
        """What to wake others for now, and the seconds until the rest; None: nothing is left.

        Args:
            now: on the monotonic clock.
            enough: of a permit, how many are not to wait for more.
        """
        with self._lock:
            few = {name for name, count in self._freed.items() if count < enough(name)}
            left = self._taken_at + GATHERED - now
            if not few or left <= 0:
                self._taken_at = now if few else self._taken_at
                few.clear()
            taken = self._freed.keys() - few
            self._freed = Counter({name: self._freed[name] for name in few})
            return taken, left if few else None
