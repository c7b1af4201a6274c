"""A job of the lean lane in a bundle: Celery hears of it only when more than a success is to be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from celeriac.task.results.carried import CarriedResult
from celeriac.worker.burst.bundle import UNTOLD, BundledJob
from celeriac.worker.gate.lean_job import LeanJob


class LeanOwner(Protocol):
    """Who has the jobs of the lean lane, as the pool knows it.

    Attributes:
        hostname, worker: the worker's node name and id.
    """

    hostname: str
    worker: str

    @property
    def is_watched(self) -> bool:
        """Whether somebody watches events of jobs."""

    def watch(self, hub: Any) -> None:
        """Have the event loop watch what answers to the lane."""

    def look(self) -> None:
        """Called twenty times a second, and when a bundle has ended: there may be room for jobs."""

    def request_for(self, job: LeanJob) -> Any:
        """Celery's request of a job, made now if there is none; None: Celery refused the job."""

    def execute(self, request: Any) -> None:
        """Hand a request to the pool."""

    def completed(self, ended: Sequence[tuple[LeanJob, float]]) -> None:
        """Take jobs that were completed, with the seconds that each took."""


class LeanEntry(BundledJob):
    """What ``BundledJob`` is for a job with a request. It becomes that as soon as there is a request.

    Attributes:
        tell: makes the request, which enters its callbacks here; None: it has been called.
        complete: takes what has ended well without a request.
    """

    __slots__ = ("complete", "tell")

    tell: Callable[[LeanEntry], None] | None
    complete: Callable[[LeanJob, float], None]

    @classmethod
    def of(
        cls,
        job: LeanJob,
        limits: tuple[float | None, float | None],
        *,
        stop: Callable[[BundledJob], None],
        tell: Callable[[LeanEntry], None],
        complete: Callable[[LeanJob, float], None],
    ) -> LeanEntry:
        """
        Args:
            limits: the hard and the soft time limit in seconds.
        """
        made = cls(
            task=job.task,
            call=job.call(),
            hard=limits[0],
            soft=limits[1],
            accept_callback=None,
            timeout_callback=None,
            callback=None,
            error_callback=None,
            stop=stop,
            waiting=job,
        )
        made.tell, made.complete = tell, complete
        return made

    def accept(self, pid: int, started: float) -> None:
        self.tell_celery()
        super().accept(pid, started)

    def end(self, value: Any, *, returned: bool, seconds: float | None = None) -> None:
        if not self.ended:
            self.tell_celery()
            super().end(value, returned=returned, seconds=seconds)

    def succeed(
        self,
        pid: int,
        started: float,
        seconds: float,
        value: Any = UNTOLD,
        *,
        result: CarriedResult | None = None,
    ) -> None:
        if self.tell is None:
            super().succeed(pid, started, seconds, value, result=result)
        elif not self.ended:
            self.ended = True
            job: LeanJob = self.waiting  # type: ignore[assignment]  # what it was made of
            job.began, job.returned, job.carried = started, value, result
            self.complete(job, seconds)

    def tell_celery(self) -> None:
        """Have the request made, if there is none."""
        if (tell := self.tell) is not None:
            self.tell = None
            tell(self)
