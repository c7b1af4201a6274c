"""Time how long a warm worker takes until no job is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.trial import Trial
from tests.processes import Process

#: A drain is timed from here on: what comes before is the worker's start.
WARM = 0.05  # share of the jobs


@dataclass(frozen=True)
class Drained:
    """Moments are those of time.monotonic."""

    jobs: int  # that were timed
    begin: float
    witnessed: float  # the witness had all of them
    end: float  # and so had the side's record, where it keeps one

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / (self.end - self.begin)

    @property
    def witnessed_rate(self) -> float:
        """The same, whatever the side's record says."""
        return self.jobs / (self.witnessed - self.begin)


def drained(
    trial: Trial,
    jobs: int,
    *,
    worker: Process,
    before: int = 0,
    warm: float = WARM,
    recorded: Callable[[], int] | None = None,
) -> Drained:
    """Wait until ``worker`` has run ``jobs`` that it was given.

    Args:
        before: jobs that the witness knew before.
        recorded: see ``Trial.finished``.
    """
    begin = trial.ran(before + max(1, int(jobs * warm)), worker=worker)
    witnessed = trial.ran(before + jobs, worker=worker)
    end = trial.finished(before + jobs, worker=worker, recorded=recorded)
    return Drained(before + jobs - begin.count, begin.at, witnessed.at, end.at)
