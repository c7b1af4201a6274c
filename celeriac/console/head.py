"""What stands at the top of every page: whether something is wrong, what waits, what runs, who works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from celeriac.console.budget import Budget
from celeriac.console.shared import Shared
from celeriac.operate import doctor, overview
from celeriac.operate.doctor import Finding, Level
from celeriac.operate.overview import Backlog, JobCounts

if TYPE_CHECKING:
    from celeriac.application import Celeriac

T = TypeVar("T")

_EVERY, _DOCTOR_EVERY = 2.0, 20.0  # seconds
_WAIT = 0.4  # seconds that a page waits for its first head


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    due: int
    oldest: timedelta | None  # for how long the oldest due job has been due
    running: int
    failed: int  # within the last minute
    alive: int
    silent: int
    counts: JobCounts  # of which the others are a part
    capped: bool = False  # more jobs wait than were looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known now; None: not yet, or the database does not answer."""

    figures: Figures | None
    findings: list[Finding] | None

    @property
    def worst(self) -> Finding | None:
        """The worst finding of the doctor that is not all right."""
        order = [Level.FAIL, Level.WARN]
        found = [finding for finding in self.findings or () if finding.level in order]
        return min(found, key=lambda finding: order.index(finding.level), default=None)


class Head:
    def __init__(self, app: Celeriac, backlog: Callable[[], Backlog], *, budget: Budget) -> None:
        self._figures = Shared(lambda: read(app, backlog()), every=_EVERY, budget=budget)
        self.doctor = Shared(lambda: doctor.examine(app), every=_DOCTOR_EVERY, budget=budget)

    def start(self) -> None:
        self._figures.start()
        self.doctor.start()

    def close(self) -> None:
        self._figures.close()
        self.doctor.close()

    def counts(self, *, wait: float) -> JobCounts:
        """What the figures are a part of, so that a page and its head tell the same.

        Raises:
            TimeoutError: it takes too long.
            Exception: what the last read raised.
        """
        return self._figures.get(wait=wait).counts

    def now(self) -> Seen:
        return Seen(figures=_of(self._figures, _WAIT), findings=_of(self.doctor, 0.0))


def read(app: Celeriac, known: Backlog) -> Figures:
    counts = overview.count_jobs(known=known, app=app)
    workers = overview.list_workers(within=timedelta(minutes=10), app=app)
    return Figures(
        due=counts.due,
        oldest=counts.oldest,
        running=counts.running,
        failed=counts.failed,
        counts=counts,
        capped=counts.capped,
        alive=sum(worker.state == "alive" for worker in workers),
        silent=sum(worker.state == "silent" for worker in workers),
    )


def _of(shared: Shared[T], wait: float) -> T | None:
    try:
        return shared.peek(wait=wait, patient=False)[0]
    except Exception:  # the page itself says what is wrong; a head without figures must not hide it
        return None
