"""Waiting, for tests: a condition with a deadline in place of a sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: How many times as long as usual a busy machine may take. Bounds are for what hangs, not for what is slow.
PATIENCE = 5

_FIRST_PAUSE = 0.002  # seconds
_LONGEST_PAUSE = 0.05  # seconds


def wait_until(predicate: Callable[[], T], *, within: float, saying: str) -> T:
    """The first truthy value that ``predicate`` returns.

    Args:
        within: seconds that are more than enough on a quiet machine; the wait fails after ``PATIENCE`` times
            as many, and the predicate is asked once more at the end.
        saying: what was waited for, as the failure's sentence.

    Raises:
        AssertionError: with ``saying`` and the last value. What the predicate raises is not caught.

    >>> wait_until(lambda: 7, within=1, saying="a number")
    7
    """
    within *= PATIENCE
    deadline = time.monotonic() + within
    pause = _FIRST_PAUSE
    while True:
        last_time = time.monotonic() >= deadline
        value = predicate()
        if value:
            return value
        if last_time:
            raise AssertionError(f"{saying}: not within {within:g} s, last value {value!r}")
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def waited_for_a_cpu() -> float:
    """Seconds for which this thread could have run and others did: to be taken off what a bound is set for.

    Known on Linux (the second field of schedstat, in nanoseconds); 0 elsewhere.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def slowdown() -> float:
    """How many times as long as on a quiet machine something takes just now; 1.0 when nobody else runs."""
    began, before = time.perf_counter(), time.thread_time()
    while time.thread_time() - before < 0.02:
        pass
    return max(1.0, (time.perf_counter() - began) / 0.02)
