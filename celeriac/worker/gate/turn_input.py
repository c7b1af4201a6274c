"""The work of one turn of the ledger thread."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from celeriac.worker.attempt_report import AttemptReport

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


@dataclass(slots=True)
class TurnInput:
    """The work of one turn.

    Attributes:
        uncertain: jobs that this worker may have claimed without an answer; released, unless in its book.
        deferred: outcomes for a later turn.
    """

    reports: list[AttemptReport] = field(default_factory=list)
    arrived: list[Any] = field(default_factory=list)
    uncertain: set[UUID] = field(default_factory=set)
    deferred: list[DeferredOutcome] = field(default_factory=list)
