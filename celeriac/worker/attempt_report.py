"""The attempt report: an attempt's outcome on its way from the pool to the ledger thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import UUID

from celeriac.ledger.schema.lifecycle import WAITING, AttemptKind, JobState
from celeriac.ledger.schema.models import LOST
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.task.results.carried import CarriedResult


class Reporting(Protocol):
    """The attributes that a report reads from the request whose attempt has ended."""

    id: str
    name: str
    ignore_result: bool
    returned: bool
    time_start: float | None
    ran: float | None
    permits: tuple[str, ...]
    rests: float | None
    unique: bool
    carried: CarriedResult | None


class ReportTaker(Protocol):
    """Takes a request's reports; in a worker it is the ledger thread."""

    def started(self, job: UUID) -> None: ...
    def report(self, outcome: Outcome, request: Any = None) -> None: ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AttemptReport:
    """The outcome of an attempt, and facts about it.

    Attributes:
        wants_result: whether the return value is copied from the result store.
        returned: whether the result store must have a return value; if it is missing, it is lost.
        task_id: its Celery task id, of which its key in the result store is made; None as with ``task``.
        task: its name; None of a delivery that Celery could not take.
        run_seconds: seconds that it ran; None when it never began.
        permits: what it gives back of limits, by name.
        rests: seconds for which nothing of these limits is to start; None: the task asked for no rest.
        unique: whether other jobs may follow it.
        carried: its result, which is stored when its outcome is on record.
    """

    outcome: Outcome
    wants_result: bool = False
    returned: bool = False
    task_id: str | None = None
    task: str | None = None
    run_seconds: float | None = None
    permits: tuple[str, ...] = ()
    rests: float | None = None
    unique: bool = False
    carried: CarriedResult | None = None

    @property
    def missing(self) -> str | None:
        """Its result, if the result store has none."""
        return LOST if self.returned else None

    @classmethod
    def of(cls, request: Reporting | None, outcome: Outcome) -> AttemptReport:
        if request is None:
            return cls(outcome=outcome)
        carried = request.carried if outcome.state is JobState.COMPLETED else None
        if carried is not None:
            outcome = replace(outcome, result=carried.value)
        wants = carried is None and outcome.state is JobState.COMPLETED and not request.ignore_result
        return cls(
            outcome=outcome,
            carried=carried,
            wants_result=wants,
            returned=wants and request.returned,
            task_id=request.id,
            task=request.name,
            run_seconds=_run_seconds(request),
            permits=request.permits,
            rests=request.rests,
            unique=request.unique,
        )


def _run_seconds(request: Reporting) -> float | None:
    if request.ran is not None:
        return request.ran
    return max(0.0, time.time() - request.time_start) if request.time_start else None


def with_results(
    reports: Sequence[AttemptReport], fetch: Callable[[Mapping[UUID, str]], dict[UUID, str]] | None
) -> list[AttemptReport]:
    """``reports`` with the results of completed jobs, which ``fetch`` reads with one request for all."""
    wanting = {item.outcome.id: item.task_id or "" for item in reports if item.wants_result}
    if not wanting or fetch is None:
        return list(reports)
    found = fetch(wanting)
    return [
        replace(item, outcome=replace(item.outcome, result=found.get(item.outcome.id, item.missing)))
        if item.wants_result
        else item
        for item in reports
    ]


def carried_results(
    reports: Sequence[AttemptReport], accepted: Mapping[UUID, JobState]
) -> list[tuple[str, CarriedResult]]:
    """The results that were carried with accepted outcomes, by their task ids."""
    return [
        (item.task_id or "", item.carried)
        for item in reports
        if item.carried is not None and accepted.get(item.outcome.id) is JobState.COMPLETED
    ]


#: What is a failure for a circuit breaker. What a task asked for itself is none.
_FAILURES = frozenset({AttemptKind.ERROR, AttemptKind.TIMEOUT, AttemptKind.LOST})


@dataclass(frozen=True, slots=True)
class Freed:
    """What attempts that have ended mean for limits.

    Attributes:
        permits: what they give back.
        rests: permits of limits that are to rest, with the seconds.
        succeeded, failed: permits of attempts, once for each.
        returned: the permits of each job that goes back into its line, to be tried again.
    """

    permits: Sequence[str]
    rests: Mapping[str, float] = field(default_factory=dict)
    succeeded: Sequence[str] = ()
    failed: Sequence[str] = ()
    returned: Sequence[tuple[str, ...]] = ()

    @classmethod
    def by(cls, reports: Sequence[AttemptReport], *, but: Collection[str] = ()) -> Freed:
        """
        Args:
            but: permits that others have got already.
        """
        asked = [item for item in reports if item.rests is not None]
        done = [item for item in reports if item.outcome.state is JobState.COMPLETED]
        wrong = [item for item in reports if (why := item.outcome.failure) and why.kind in _FAILURES]
        return cls(
            [permit for item in reports for permit in item.permits if permit not in but],
            {permit: item.rests or 0.0 for item in asked for permit in item.permits},
            [permit for item in done for permit in item.permits],
            [permit for item in wrong for permit in item.permits],
            [item.permits for item in reports if item.permits and item.outcome.state in WAITING],
        )
