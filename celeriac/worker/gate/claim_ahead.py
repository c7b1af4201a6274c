"""How many jobs to claim ahead of free children."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableSequence
from typing import Any, NamedTuple

#: Claim ahead what the pool runs in so many seconds: enough work for the duration of a turn.
_AHEAD = 0.05

#: Jobs that run for so many seconds or longer are claimed only when a child is free. A turn is short compared
#: with them, and a job that waited behind one of them could have run on another worker.
_LONG = 0.2

#: Seconds. A pause delays outcomes; a very short one gathers no others.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.01

_MOST, _MOST_IN_BUNDLES = 1_000, 2_000  # messages besides those for the children

_UNKNOWN = 1.0  # assumed seconds of a job before any has ended

#: Seconds; shorter measurements are noise. In bundles they are not, because the child measures.
_SHORTEST, _SHORTEST_IN_BUNDLES = 0.0005, 0.0001
_WEIGHT = 0.1  # of the latest job in the moving average
#: The same of the first jobs: a worker that has just started is soon at its full rate.
_FIRST, _FIRST_WEIGHT = 8, 0.5


class Rooms(NamedTuple):
    """How many jobs may be claimed now.

    Attributes:
        children: of those that wait for a child.
        beside: of coroutines that run beside what children are at; None: none do in this worker.
    """

    children: int
    beside: int | None = None

    def choose(self, arrived: MutableSequence[Any], runs_beside: Callable[[object], bool]) -> int:
        """Put deliveries that may be claimed first, each kind in its order; return how many these are.

        Args:
            runs_beside: whether jobs of the task with a name are such coroutines.
        """
        if self.beside is None:
            return min(self.children, len(arrived))
        left = [self.children, self.beside]
        chosen: list[Any] = []
        others: list[Any] = []
        for item in arrived:
            kind = runs_beside(_task_of(item))
            (chosen if left[kind] > 0 else others).append(item)
            left[kind] -= 1
        arrived[:] = chosen + others
        return len(chosen)


def _task_of(item: Any) -> object:
    """The task's name in a job of the lean lane, or in a message, which may be damaged."""
    task: object = getattr(item, "task", None)
    if task is None and isinstance(headers := getattr(item, "headers", None), dict):
        task = headers.get("task")
    return task


class ClaimAhead:
    """Decides by the average duration of jobs.

    A job that is claimed and not started loses a try when this worker dies, and an idle worker cannot run
    it. So long jobs are claimed when a child is free, and short ones ahead of that.

    Args:
        bundles: whether jobs go to children in bundles.
    """

    def __init__(self, bundles: Callable[[], bool] = lambda: False) -> None:
        self._pace = _UNKNOWN  # moving average of the seconds that a job takes
        self._first = _FIRST  # jobs that still count as the first
        self._bundles = bundles

    def record_duration(self, seconds: float, *, jobs: int = 1) -> None:
        """So many jobs have ended, after ``seconds`` each."""
        first = min(jobs, self._first)
        self._first -= first
        kept = (1 - _FIRST_WEIGHT) ** first * (1 - _WEIGHT) ** (jobs - first)  # of what was known before
        self._pace += (1 - kept) * (max(0.0, seconds) - self._pace)

    def claimable(self, unfinished: int, *, children: int, queues: bool = True) -> int:
        """How many more jobs may be claimed now.

        Args:
            unfinished: jobs that wait for a child or run in one.
            queues: whether the pool accepts more jobs than it can run; otherwise it would block the caller.
        """
        return max(0, children + self._ahead(children, queues) - unfinished)

    def prefetch(self, *, children: int, queues: bool = True) -> int:
        """How many messages the worker may hold: one for each child, and twice what is claimed ahead.

        While jobs are long it is the number of children. Then the job with the highest priority, and not the
        first that arrived, gets the next free child.
        """
        most = _MOST_IN_BUNDLES if self._bundles() else _MOST
        return children + min(2 * self._ahead(children, queues), most)

    def refill_threshold(self, *, children: int, queues: bool = True) -> int:
        """How many messages below the prefetch limit the worker must be before it asks for more."""
        return max(1, (self.prefetch(children=children, queues=queues) - children) // 4)

    def pause(self, unfinished: int, *, children: int) -> float:
        """Seconds that a turn may wait for more outcomes and deliveries.

        Half the time for which waiting jobs keep the children busy; 0 when a child may be idle.
        """
        waiting = unfinished - children
        if waiting <= 0:
            return 0.0
        return min(max(_SHORTEST_PAUSE, waiting * self._pace / children / 2), _LONGEST_PAUSE)

    def _ahead(self, children: int, queues: bool) -> int:
        if not queues or self._pace >= _LONG:
            return 0
        shortest = _SHORTEST_IN_BUNDLES if self._bundles() else _SHORTEST
        return math.ceil(children * _AHEAD / max(self._pace, shortest))
