"""A bundle and its jobs, as the worker's main process knows them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celeriac.events import Event
from celeriac.task.results.carried import CarriedResult
from celeriac.worker.burst.child import Report, Success
from celeriac.worker.burst.page import DONE, OPEN, TOLD, Page, Place
from celeriac.worker.gate.lean_job import Call, LeanJob

logger = logging.getLogger(__name__)


#: What stands for what Celery's tracer returned of a success, where the child was not asked for it.
UNTOLD = (0, None, None)


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A job that waits to be put into a bundle.

    Attributes:
        task: its task's name.
        enter: has it entered into the bundle that is being made; it may be refused or revoked instead.
        request: Celery's request.
    """

    task: str
    enter: Callable[[], Any]
    request: Any


class ChildPid(int):
    """The process id of a child, which knows for which job it was told.

    Whoever terminates the job later names the process. The child may be at another job by then.
    """

    job: BundledJob

    @classmethod
    def of(cls, pid: int, job: BundledJob) -> ChildPid:
        found = cls(pid)
        found.job = job
        return found


@dataclass(slots=True, eq=False, weakref_slot=True, kw_only=True)
class BundledJob:
    """One job of a bundle. For Celery it is what ``billiard.pool.ApplyResult`` is for a job of prefork.

    Attributes:
        call: the function and its arguments, pickled; what a child makes them of, for a job of the lean lane.
        soft: its soft time limit in seconds; ``hard`` likewise.
        stop: called to stop it before it has been accepted.
        accepted: whether Celery knows that it was begun.
        ended: whether its outcome was told, or it has left the bundle.
        soft_sent: whether the signal of its soft time limit was sent.
    """

    task: str
    call: bytes | Call
    soft: float | None
    hard: float | None
    accept_callback: Callable[..., Any] | None
    timeout_callback: Callable[..., Any] | None
    callback: Callable[..., Any] | None
    error_callback: Callable[..., Any] | None
    stop: Callable[[BundledJob], None]
    waiting: Waiting | LeanJob | None = None
    bundle: Bundle | None = None
    position: int = 0
    accepted: bool = False
    ended: bool = False
    soft_sent: bool = False

    def terminate(self, signum: int) -> None:
        """Called by Celery when the job is revoked. What was accepted is stopped through its process id."""
        if not (self.accepted or self.ended):
            self.stop(self)

    def accept(self, pid: int, started: float) -> None:
        """Tell Celery that it was begun.

        Args:
            started: on the monotonic clock.
        """
        if not self.accepted:
            self.accepted = True
            _call(self.accept_callback, ChildPid.of(pid, self), started)

    def end(self, value: Any, *, returned: bool, seconds: float | None = None) -> None:
        """Tell Celery what became of it."""
        if self.ended:
            return
        self.ended = True
        if self.waiting is not None and seconds is not None:
            self.waiting.request.ran = seconds
        _call(self.callback if returned else self.error_callback, value)

    def succeed(
        self,
        pid: int,
        started: float,
        seconds: float,
        value: Any = UNTOLD,
        *,
        result: CarriedResult | None = None,
    ) -> None:
        """Tell Celery that it ended well.

        Args:
            value: what Celery's tracer returned; ``UNTOLD`` where nobody asks for it.
            result: what is to be stored of it; None: it is stored, or nobody wants it.
        """
        self.accept(pid, started)
        self.carry(result)
        self.end(value, returned=True, seconds=seconds)

    def carry(self, result: CarriedResult | None) -> None:
        """Have ``result`` stored with its outcome. After ``accept``: Celery has its request by then."""
        if result is not None and self.waiting is not None and self.waiting.request is not None:
            self.waiting.request.carried = result

    def time_out(self, *, soft: bool) -> None:
        _call(self.timeout_callback, soft=soft, timeout=self.soft if soft else self.hard)


class Bundle:
    """Jobs that travel to a child together.

    Attributes:
        result: billiard's own handle of it.
        pid, page: of the child that has taken it up; None before.
        recalled: whether the child was told not to take it up.
    """

    def __init__(self, number: int, jobs: Sequence[BundledJob]) -> None:
        self.number = number
        self.jobs = list(jobs)
        self.result: Any = None
        self.pid: int | None = None
        self.page: Page | None = None
        self.recalled = False
        for position, job in enumerate(jobs):
            job.bundle, job.position = self, position

    @property
    def place(self) -> Place | None:
        """Where its child is in it; None when it was not begun."""
        place = self.page.place if self.page is not None else None
        return place if place is not None and place.bundle == self.number else None

    def tell(self, reports: Sequence[Report | Success], record: Callable[[str, float], None]) -> None:
        """Tell Celery the outcomes in ``reports``.

        Args:
            record: takes the name of each job's task, and how many seconds it took.
        """
        for report in reports:
            if not isinstance(report, Report):
                position, started, seconds, result = report
                job = self.jobs[position]
                record(job.task, seconds)
                if not job.ended:
                    job.succeed(self.pid or 0, started, seconds, result=result)
                continue
            job = self.jobs[report.position]
            record(job.task, report.seconds)
            if job.ended:
                continue
            if report.returned and not report.value[0]:
                job.succeed(self.pid or 0, report.started, report.seconds, report.value, result=report.result)
            else:
                job.accept(self.pid or 0, report.started)
                job.carry(report.result)
                job.end(report.value, returned=report.returned, seconds=report.seconds)

    def tell_done(self) -> None:
        """Tell Celery of the jobs that are marked as done well and that the child has not told of.

        What is marked as told is in the pipe, and may be a failure.
        """
        page, place = self.page, self.place
        if page is None or place is None:
            return
        for position, job in enumerate(self.jobs[: place.position + 1]):
            if not job.ended and page.mark(position) == DONE:
                job.succeed(self.pid or 0, place.started, 0.0, result=page.result(position))

    def lost(self, error: Any) -> bool:
        """Its child has died, or has left it: tell Celery of the job that it was at.

        Args:
            error: what billiard says of it.

        Returns:
            Whether the child was at a job.
        """
        self.tell_done()
        if self.page is not None and self.page.place.bundle > self.number:
            for job in self.jobs:  # it was done, and the word of it is lost: nobody knows of which job
                job.end(error, returned=False)
        place = self.place
        if place is None:
            return False
        for job in self.jobs:  # its outcome was written, and is not in the pipe
            if self.page is not None and self.page.mark(job.position) == TOLD:
                job.end(error, returned=False)
        if not place.at_work:
            return False
        job = self.jobs[place.position]
        job.accept(self.pid or 0, place.started)
        job.end(error, returned=False)
        return True

    def take_back(self, *, behind: int = -1) -> list[Waiting | LeanJob]:
        """Take the jobs behind a position out of it; the caller has seen to it that they are not begun."""
        found: list[Waiting | LeanJob] = []
        for position, job in enumerate(self.jobs[behind + 1 :], behind + 1):
            if job.ended or (self.place is not None and self.page and self.page.mark(position) != OPEN):
                continue
            job.ended = True
            if job.waiting is not None:
                found.append(job.waiting)
        return found


def tells_of_jobs(events: Any) -> bool:
    """Whether Celery's dispatcher of events sends those of jobs.

    It is enabled in any worker with a heartbeat or gossip, for events of the worker alone.
    """
    return bool(events and events.enabled and (not events.groups or "task" in events.groups))


def _call(callback: Callable[..., Any] | None, *args: Any, **kwargs: Any) -> None:
    """As billiard calls back: what one job's callback raises must not cost the others their outcome."""
    if callback is None:
        return
    try:
        callback(*args, **kwargs)
    except MemoryError:
        raise
    except Exception:  # see above
        logger.exception(Event.CALLBACK_FAILED)
