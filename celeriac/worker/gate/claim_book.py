"""The claim book: which jobs a worker holds, from before the claim until the outcome is committed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True)
class Holding:
    """One job that this worker holds.

    Attributes:
        attempt: its number; 0 while the claim is not answered.
        started: whether a pool child has begun it.
        ended: whether its outcome is reported and waits to be committed.
        rate_limited: whether it waits for its task's rate limit, and so for no child.
        beside: whether it is a coroutine, which runs beside what a child is at.
    """

    attempt: int = 0
    started: bool = False
    ended: bool = False
    rate_limited: bool = False
    beside: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether it waits for its place, or runs."""
        return bool(self.attempt) and not self.ended and not self.rate_limited


class ClaimBook:
    """Read and written by the event loop, the ledger thread and the keeper.

    Args:
        runs_beside: whether jobs of the task with this name are coroutines, beside what children are at.
    """

    def __init__(self, runs_beside: Callable[[object], bool] | None = None) -> None:
        self.runs_beside = runs_beside or (lambda _: False)
        self._book: dict[UUID, Holding] = {}
        # Counted along: a turn asks several times, and a thousand jobs may be held.
        self._unfinished = {False: 0, True: 0}  # by ``beside``
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._book)

    def __contains__(self, job: UUID) -> bool:
        return job in self._book

    def enter(self, job: UUID, task: object = None) -> bool:
        """Enter a job that is about to be claimed; False when the worker holds it already."""
        return self.enter_all([job], beside=self.runs_beside(task))[0]

    def enter_all(self, jobs: Sequence[UUID], *, beside: bool = False) -> list[bool]:
        """As ``enter``, for each of ``jobs``."""
        with self._lock:
            book, fresh = self._book, []
            for job in jobs:
                fresh.append(job not in book)
                book.setdefault(job, Holding(beside=beside))
            return fresh

    def won(self, job: UUID, attempt: int) -> None:
        self.won_all([(job, attempt)])

    def won_all(self, won: Iterable[tuple[UUID, int]]) -> None:
        """As ``won``, for jobs with the numbers of their attempts."""
        with self._lock:
            for job, attempt in won:
                before = self._take_out(job)
                beside = before is not None and before.beside
                self._book[job] = Holding(attempt, beside=beside)
                self._unfinished[beside] += 1

    def started(self, job: UUID) -> None:
        with self._lock:
            if holding := self._book.get(job):
                holding.started = True

    def ended(self, *jobs: UUID) -> None:
        with self._lock:
            for job in jobs:
                if holding := self._book.get(job):
                    self._unfinished[holding.beside] -= holding.unfinished
                    holding.ended = True

    def set_rate_limited(self, job: UUID, waits: bool) -> None:
        """Note whether a job waits for its task's rate limit."""
        with self._lock:
            if holding := self._book.get(job):
                self._unfinished[holding.beside] -= holding.unfinished
                holding.rate_limited = waits
                self._unfinished[holding.beside] += holding.unfinished

    def leave(self, *jobs: UUID) -> None:
        with self._lock:
            for job in jobs:
                self._take_out(job)

    def _take_out(self, job: UUID) -> Holding | None:
        if holding := self._book.pop(job, None):
            self._unfinished[holding.beside] -= holding.unfinished
        return holding

    def jobs(self) -> list[UUID]:
        with self._lock:
            return list(self._book)

    def attempt_of(self, job: UUID) -> int | None:
        """The number of the attempt that the worker holds; None: none, or the claim is not answered."""
        holding = self._book.get(job)
        return (holding.attempt or None) if holding else None

    def open(self) -> list[tuple[UUID, int]]:
        """The attempts that were won and whose outcome is not reported yet."""
        with self._lock:
            return [(job, h.attempt) for job, h in self._book.items() if h.attempt and not h.ended]

    def unfinished(self) -> int:
        """How many jobs wait for a child or run in one; without those that run beside."""
        return self._unfinished[False]

    def beside(self) -> int:
        """How many coroutines run beside what children are at, or wait for it."""
        return self._unfinished[True]

    def is_beside(self, job: UUID) -> bool:
        """Whether a job of the book is such a coroutine."""
        holding = self._book.get(job)
        return holding is not None and holding.beside

    def rate_limited(self) -> int:
        """How many jobs wait for their task's rate limit."""
        with self._lock:
            return sum(1 for h in self._book.values() if h.rate_limited and not h.ended)
