"""How many of the waiting jobs make up the next bundle."""

from __future__ import annotations

from collections.abc import Iterable

from celeriac.worker.burst.page import MOST

#: Seconds of work in a bundle.
WORK = 0.008

#: Seconds. No job waits in a child behind one that takes so long.
LONG = 0.2

_WEIGHT = 0.1  # of the latest job in the moving average


class Paces:
    """How many seconds a job of each task takes: moving averages."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def of(self, task: str) -> float | None:
        """None: no job of this task has ended here yet."""
        return self._seconds.get(task)

    def record(self, task: str, seconds: float) -> None:
        known = self._seconds.get(task)
        self._seconds[task] = seconds if known is None else known + _WEIGHT * (seconds - known)


def size(paces: Iterable[float | None], *, share: int = MOST) -> int:
    """How many of the jobs with these ``paces``, in this order, go together; none only when there are none.

    Args:
        paces: seconds; None: unknown, so that the job goes alone.
        share: at most so many, so that another child gets some of them.

    >>> size([0.001, 0.001, 0.001]), size([0.02, 0.001]), size([0.001, None]), size([None, 0.001])
    (3, 1, 1, 1)
    """
    jobs, work = 0, 0.0
    for pace in paces:
        if jobs and (pace is None or work + pace > WORK or jobs >= min(share, MOST)):
            break
        jobs += 1
        if pace is None:
            break
        work += pace
    return jobs
