"""The page: memory that the worker's main process shares with one child, and the lock in front of it.

The child writes which job it is at. Whatever the main process does to that job, it does behind the lock, so
that the child cannot have gone on to the next job meanwhile. It also writes the results of the jobs that are
done, as far as the main process stores them: a child that is killed has told of nothing else.
"""

from __future__ import annotations

import mmap
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from billiard import get_context

from celeriac.task.results.carried import CarriedResult

#: Jobs of one bundle, at most: each has a mark in the page.
MOST = 64

#: A mark of a job: not begun or at work; done well, and its result stored; not to be begun; done, and its
#: outcome sent, whatever it is.
OPEN, DONE, SKIPPED, TOLD = 0, 1, 2, 3

_BUNDLE, _POSITION, _AT_WORK, _STOP, _RECALLED, _TARGET_BUNDLE, _TARGET_POSITION = range(7)
_NUMBERS, _STARTED, _MARKS = 64, 72, 128  # where the numbers end, the start time ends, the marks begin
_PLACES = 256  # where it begins to say of each result: its begin, its length, that of its return value

#: Bytes for the results of a bundle. What finds no room there is stored by the child itself.
ROOM = 64 * 1024

_Places = partial(array, "I")
_NO_PLACES = _Places(bytes(12 * MOST))

#: Seconds that the main process waits for the lock: a child may have died while it had it.
_PATIENCE = 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child is.

    Attributes:
        bundle: the number of the bundle that it has or had last; 0: none yet.
        position: of the job in the bundle that it is at, or was at last.
        at_work: whether it is at that job; otherwise it is between two jobs.
        started: when it began the job, on the monotonic clock.
    """

    bundle: int
    position: int
    at_work: bool
    started: float


class Page:
    """Made before its child is forked, and never used for another one."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, mmap.PAGESIZE + ROOM))
        self._numbers: Any = memory[:_NUMBERS].cast("q")
        self._started: Any = memory[_NUMBERS:_STARTED].cast("d")
        self._marks = memory[_MARKS : _MARKS + MOST]
        self._places: Any = memory[_PLACES : _PLACES + 12 * MOST].cast("I")
        self._results = memory[mmap.PAGESIZE :]
        self._filled = 0  # bytes of them, in the child
        self._lock: Any = get_context().Lock()

    # ---- called by the child

    def take_up(self, bundle: int, jobs: int) -> bool:
        """Begin a bundle; False when it was recalled before. The numbers of a child's bundles grow."""
        with self._lock:
            numbers = self._numbers
            if numbers[_RECALLED] >= bundle:
                return False
            self._marks[:jobs] = bytes(jobs)
            self._places[:] = _NO_PLACES
            self._filled = 0
            numbers[_STOP] = jobs
            numbers[_POSITION], numbers[_AT_WORK] = 0, 0
            numbers[_BUNDLE] = bundle
        return True

    def begin(self, position: int) -> bool | None:
        """Begin a job; False when it is not to be begun, None when none of the rest is."""
        now = time.monotonic()
        with self._lock:
            numbers = self._numbers
            if position >= numbers[_STOP]:
                return None
            if self._marks[position] != OPEN:
                return False
            numbers[_POSITION], numbers[_AT_WORK] = position, 1
            self._started[0] = now
        return True

    def end(self, position: int, *, told: bool = False) -> None:
        """Mark a job as done: its result is stored, or its outcome was ``told`` by now."""
        with self._lock:
            self._marks[position] = TOLD if told else DONE
            self._numbers[_AT_WORK] = 0

    def keep(self, position: int, result: CarriedResult) -> bool:
        """Keep the result of a job, before its mark is set; False: there is no room for it."""
        meta = result.meta.encode()
        begin, end = self._filled, self._filled + len(meta)
        if end > ROOM:
            return False
        self._results[begin:end] = meta
        self._places[3 * position : 3 * position + 3] = _Places((begin, len(meta), result.length))
        self._filled = end
        return True

    def leave(self, position: int) -> None:
        """Begin no job from ``position`` on."""
        with self._lock:
            self._numbers[_STOP] = min(self._numbers[_STOP], position)

    @property
    def started(self) -> float:
        """When the job was begun that is at work or was last."""
        return float(self._started[0])

    def is_target(self, bundle: int, position: int) -> bool:
        """Whether the signal that has arrived was meant for this job."""
        return (self._numbers[_TARGET_BUNDLE], self._numbers[_TARGET_POSITION]) == (bundle, position)

    # ---- called by the main process

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Behind the lock the child stays where it is. False: the child may have died with the lock."""
        held = self._lock.acquire(True, _PATIENCE)
        try:
            yield held
        finally:
            if held:
                self._lock.release()

    @property
    def place(self) -> Place:
        """Where the child is; certain only behind the lock, or when the child has ended."""
        numbers = self._numbers
        return Place(numbers[_BUNDLE], numbers[_POSITION], bool(numbers[_AT_WORK]), self._started[0])

    @property
    def stop(self) -> int:
        """The position from which on no job of the bundle is begun."""
        return int(self._numbers[_STOP])

    def mark(self, position: int) -> int:
        return self._marks[position]

    def result(self, position: int) -> CarriedResult | None:
        """The result of a job that is marked as done; None: it was stored, or nobody wants it."""
        begin, length, of_value = self._places[3 * position : 3 * position + 3]
        meta = bytes(self._results[begin : begin + length])
        return CarriedResult(meta.decode(), of_value) if length else None

    def draw_stop_line(self, position: int) -> None:
        """Let the child begin no job of its bundle from ``position`` on. Behind the lock only."""
        self._numbers[_STOP] = min(self._numbers[_STOP], position)

    def skip(self, position: int) -> None:
        """Let the child not begin this job of its bundle. Behind the lock only."""
        self._marks[position] = SKIPPED

    def recall(self, bundle: int) -> None:
        """Let the child take up no bundle up to this number. Behind the lock only."""
        self._numbers[_RECALLED] = bundle

    def aim(self, bundle: int, position: int) -> None:
        """Note for which job the next signal is. Behind the lock only."""
        self._numbers[_TARGET_BUNDLE], self._numbers[_TARGET_POSITION] = bundle, position
