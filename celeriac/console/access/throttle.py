"""Slow down whoever tries passwords: per address and per name."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

_FREE = 5  # wrong tries without a wait
_LONGEST = 60.0  # seconds of a wait
_MOST = 10_000  # keys that are remembered


class Throttle:
    """Counts wrong tries. After five, each next one makes the wait twice as long, up to a minute.

    The keys that were tried longest ago are forgotten, so that memory is bounded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, *keys: str) -> float:
        """Seconds until one of these may try again; 0: now."""
        now = time.monotonic()
        with self._lock:
            return max(0.0, *(self._tries.get(key, (0, 0.0))[1] - now for key in keys))

    def failed(self, *keys: str) -> None:
        now = time.monotonic()
        with self._lock:
            for key in keys:
                count = self._tries.pop(key, (0, 0.0))[0] + 1
                pause = min(_LONGEST, 2.0 ** (count - _FREE)) if count >= _FREE else 0.0
                self._tries[key] = (count, now + pause)
            while len(self._tries) > _MOST:
                self._tries.popitem(last=False)

    def worked(self, *keys: str) -> None:
        with self._lock:
            for key in keys:
                self._tries.pop(key, None)
