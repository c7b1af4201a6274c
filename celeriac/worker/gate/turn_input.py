"""The work of one turn of the ledger thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from celeriac.worker.attempt_report import AttemptReport
from celeriac.worker.gate.deliveries import AnyDelivery
from celeriac.worker.gate.lean_job import LeanJob
from celeriac.worker.gate.paced_claims import TimedDelivery

_FIRST_REST, _LONGEST_REST = 0.05, 1.0  # seconds until an outcome of a locked row is tried again
_REFUSED_REST = 10.0  # seconds until an outcome that the database refuses is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredOutcome:
    """An outcome that could not be written yet; the others do not wait for it.

    Attributes:
        due: when it is tried again, on the monotonic clock.
        rest: seconds from being deferred until then.
        reason: why the database refuses it; None: its row is locked by another transaction.
    """

    report: AttemptReport
    due: float
    rest: float
    reason: str | None = None

    @classmethod
    def locked(cls, report: AttemptReport, *, rested: float) -> DeferredOutcome:
        rest = min(max(rested * 2, _FIRST_REST), _LONGEST_REST)
        return cls(report=report, due=time.monotonic() + rest, rest=rest)

    @classmethod
    def refused(cls, report: AttemptReport, reason: str) -> DeferredOutcome:
        return cls(report=report, due=time.monotonic() + _REFUSED_REST, rest=_REFUSED_REST, reason=reason)


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Jobs that the event loop was to claim; ``claimed`` says what it has won."""

    jobs: tuple[LeanJob, ...]


@dataclass(slots=True)
class TurnInput:
    """The work of one turn.

    Attributes:
        uncertain: jobs that this worker may have claimed without an answer; released, unless in its book.
        deferred: outcomes for a later turn.
        timed: deliveries that wait for the start time of their job.
        unchecked: jobs that the event loop has claimed or not, to be checked.
    """

    reports: list[AttemptReport] = field(default_factory=list)
    arrived: list[Any] = field(default_factory=list)
    uncertain: set[UUID] = field(default_factory=set)
    deferred: list[DeferredOutcome] = field(default_factory=list)
    timed: list[TimedDelivery] = field(default_factory=list)
    unchecked: list[LeanJob] = field(default_factory=list)

    @property
    def is_pressing(self) -> bool:
        """Whether there is work that a worker which ends still does."""
        return bool(self.reports or self.unchecked)

    def next_due(self) -> float | None:
        """When a deferred outcome or a timed delivery is due, on the monotonic clock; None: there is none."""
        return min([one.due for one in self.deferred] + [one.due for one in self.timed], default=None)

    def give_up_timed(self) -> None:
        """Let all timed deliveries arrive: none of them is claimed any more."""
        self.arrived += [one.message for one in self.timed]
        self.timed = []

    def take_up_timed(self) -> None:
        """Let deliveries whose time it is arrive, before all others."""
        now = time.monotonic()
        due = sorted((one for one in self.timed if one.due <= now), key=lambda one: one.due)
        if due:
            self.timed = [one for one in self.timed if one.due > now]
            self.arrived[:0] = [one.message for one in due]


def only_completes_and_claims(reports: Sequence[AttemptReport], known: Sequence[AnyDelivery]) -> bool:
    """Whether there are completed attempts to record and rows to claim, and nothing else."""
    return all(item.outcome.only_completes for item in reports) and not any(
        delivery.adopted for delivery in known
    )
