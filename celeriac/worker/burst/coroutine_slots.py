"""Which coroutines a child has begun: memory that the worker's main process shares with it.

A child that is killed has told of nothing else. Each coroutine has a slot, which the main process gives it.
"""

from __future__ import annotations

import mmap
import time
from typing import Any


class Slots:
    """Made before its child is forked, and never used for another one.

    Args:
        count: how many coroutines the child runs at a time.
    """

    def __init__(self, count: int) -> None:
        memory = memoryview(mmap.mmap(-1, 16 * count))
        self._numbers: Any = memory[: 8 * count].cast("q")
        self._started: Any = memory[8 * count : 16 * count].cast("d")

    def __len__(self) -> int:
        return len(self._numbers)

    # ---- called by the child

    def begin(self, slot: int, number: int) -> float:
        """Note that the coroutine with this number is begun; the time on the monotonic clock."""
        started = self._started[slot] = time.monotonic()
        self._numbers[slot] = number  # last: the main process reads the time when it finds the number
        return started

    def end(self, slot: int) -> None:
        """Note that its outcome was told."""
        self._numbers[slot] = 0

    # ---- called by the main process

    def started(self, slot: int, number: int) -> float | None:
        """When the coroutine was begun; None: it was not, or its outcome was told."""
        return float(self._started[slot]) if self._numbers[slot] == number else None
