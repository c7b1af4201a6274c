"""A turn that the database refuses for what it was to write: each part of it is taken by itself.

What is refused alone becomes a dead letter that says why, in ASCII; everything else is written. Without this
one bad outcome would hold up all the others of its worker, and of the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from celeriac.events import Event
from celeriac.ledger.connection.error_kinds import kind, said
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.worker.attempt_report import AttemptReport
from celeriac.worker.gate.turn_input import DeferredOutcome, TurnInput

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The database refuses what was to be written, as the cause says; nothing of it was."""

    @property
    def why(self) -> BaseException:
        return self.__cause__ or self


def one_by_one(
    work: TurnInput,
    *,
    claim_limit: int,
    take: Callable[[TurnInput, int], TurnInput],
    quarantine: Callable[[Any, str], None],
) -> TurnInput:
    """Take ``work`` part by part; return what is left of it. What is done has left ``work`` at once.

    Args:
        room: how many jobs may be claimed.
        take: does some work in one transaction, with so much room; raises Refused.
        quarantine: makes a dead letter of a delivery, for a reason.

    Raises:
        Exception: of the database's server; or what it said of a delivery that cannot even be buried.
    """
    if work.uncertain:
        take(TurnInput(uncertain=work.uncertain), 0)
        work.uncertain = set()
    while work.reports:
        work.deferred += _write(work.reports[0], take)
        del work.reports[0]
    for _ in range(min(claim_limit, len(work.arrived))):
        message = work.arrived.pop(0)
        try:
            work.uncertain |= _receive(message, take, quarantine)
        except BaseException:
            work.arrived.append(message)  # behind the others, which must not wait for it
            raise
    return TurnInput(arrived=work.arrived, uncertain=work.uncertain, deferred=work.deferred)


def _write(report: AttemptReport, take: Callable[[TurnInput, int], TurnInput]) -> list[DeferredOutcome]:
    try:
        return take(TurnInput(reports=[report]), 0).deferred
    except Refused as exc:
        reason = f"{kind(exc.why)}: {said(exc.why)}"
        letter = replace(report, outcome=dead_letter(report.outcome, exc.why), wants_result=False)
    fields = {"job": report.outcome.id, "attempt": report.outcome.attempt, "error": reason}
    logger.error(Event.OUTCOME_REFUSED, fields)
    try:
        return take(TurnInput(reports=[letter]), 0).deferred
    except Refused:
        return [DeferredOutcome.refused(report, reason)]


def _receive(
    message: Any, take: Callable[[TurnInput, int], TurnInput], quarantine: Callable[[Any, str], None]
) -> set[UUID]:
    part = TurnInput(arrived=[message])
    try:
        take(part, 1)
    except Refused as exc:
        quarantine(message, f"the database refused it: {kind(exc.why)}: {said(exc.why)}")
    return part.uncertain


def dead_letter(outcome: Outcome, error: BaseException) -> Outcome:
    """What is recorded in place of an outcome that the database refuses."""
    reason = f"the database refused its outcome ({outcome.state}): {said(error)}"
    failure = Failure(AttemptKind.INVALID, kind(error), reason)
    return Outcome(id=outcome.id, attempt=outcome.attempt, state=JobState.FAILED, failure=failure)
