"""What one turn of the ledger thread has to do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.outcomes import Outcome

if TYPE_CHECKING:
    from celeriac.worker.gate.request import JobRequest


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AttemptReport:
    """What an attempt came to.

    Attributes:
        wants_result: whether its return value is to be copied from the result store.
        returned: whether there must be one: where it is missing, it is lost.
        task: its name; None of a delivery that Celery could not take.
        took: seconds that it ran; None when it never began.
    """

    outcome: Outcome
    wants_result: bool = False
    returned: bool = False
    task: str | None = None
    took: float | None = None

    @classmethod
    def by(cls, request: JobRequest | None, outcome: Outcome) -> AttemptReport:
        if request is None:
            return cls(outcome=outcome)
        wants = outcome.state is JobState.COMPLETED and not request.ignore_result
        return cls(
            outcome=outcome,
            wants_result=wants,
            returned=wants and request.returned,
            task=request.name,
            took=max(0.0, time.time() - request.time_start) if request.time_start else None,
        )


_FIRST_REST, _LONGEST_REST = 0.05, 1.0  # seconds until a locked row is looked at again
_REFUSED_REST = 10.0  # the same, of what the database refuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """An outcome that could not be written yet; the others do not wait for it.

    Attributes:
        due: when it is tried again, on the monotonic clock.
        rest: seconds that it waits for that.
        reason: why the database refuses it; None: its row is locked by another transaction.
    """

    reports: AttemptReport
    due: float
    rest: float
    reason: str | None = None

    @classmethod
    def locked(cls, reports: AttemptReport, *, rested: float) -> Aside:
        rest = min(max(rested * 2, _FIRST_REST), _LONGEST_REST)
        return cls(reports=reports, due=time.monotonic() + rest, rest=rest)

    @classmethod
    def refused(cls, reports: AttemptReport, reason: str) -> Aside:
        return cls(reports=reports, due=time.monotonic() + _REFUSED_REST, rest=_REFUSED_REST, reason=reason)


@dataclass(slots=True)
class TurnInput:
    """What one turn has to do.

    Attributes:
        unsure: rows that this worker may hold without knowing; released, unless it knows of them.
        aside: outcomes for a later turn.
    """

    reports: list[AttemptReport] = field(default_factory=list)
    arrived: list[Any] = field(default_factory=list)
    unsure: set[UUID] = field(default_factory=set)
    aside: list[Aside] = field(default_factory=list)
