"""A turn whose values the database refuses: each part of it is written by itself.

A part that is refused alone becomes a dead letter with the reason, in ASCII; everything else is written.
Otherwise one bad outcome would hold up all others of its worker, and then of the worker that rescues them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import ascii_of, kind, said
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.writes import quarantine as dead_letters
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.worker.attempt_report import AttemptReport
from celeriac.worker.gate import deliveries
from celeriac.worker.gate.turn_input import DeferredOutcome, TurnInput

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The database refuses the values of a turn; the cause says why. Nothing was written."""

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
    """Take ``work`` part by part; return what is left. Each part leaves ``work`` as soon as it is done.

    Args:
        room: how many jobs may be claimed.
        take: does some work in one transaction and claims at most so many jobs; raises Refused.
        quarantine: makes a dead letter of a delivery, with a reason.

    Raises:
        Exception: the database cannot be reached, or refuses even the dead letter of a delivery.
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
            work.uncertain |= _receive(message, work, take, quarantine)
        except BaseException:  # whatever it is, the delivery must not be lost
            work.arrived.append(message)  # last, so that the others do not wait for it
            raise
    return TurnInput(arrived=work.arrived, uncertain=work.uncertain, deferred=work.deferred, timed=work.timed)


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
    message: Any,
    work: TurnInput,
    take: Callable[[TurnInput, int], TurnInput],
    quarantine: Callable[[Any, str], None],
) -> set[UUID]:
    part = TurnInput(arrived=[message])
    try:
        work.timed += take(part, 1).timed
    except Refused as exc:
        quarantine(message, f"the database refused it: {kind(exc.why)}: {said(exc.why)}")
    return part.uncertain


def lost(job: UUID, attempt: int, why: str) -> Outcome:
    """The outcome of an attempt that an exception ended with its worker."""
    failure = Failure(AttemptKind.LOST, "WorkerLost", f"its worker was ended by {why}")
    return Outcome(id=job, attempt=attempt, state=JobState.ERROR, failure=failure)


def dead_letter(outcome: Outcome, error: BaseException) -> Outcome:
    """The outcome that is recorded in place of one that the database refuses."""
    reason = f"the database refused its outcome ({outcome.state}): {said(error)}"
    failure = Failure(AttemptKind.INVALID, kind(error), reason)
    return Outcome(id=outcome.id, attempt=outcome.attempt, state=JobState.FAILED, failure=failure)


def write_dead_letter(database: Database, message: Any, reason: str) -> None:
    """Make a dead letter of a delivery that the database refuses, all in ASCII."""
    letter = deliveries.unreadable(message, reason)
    plain = replace(
        letter,
        queue=ascii_of(letter.queue),
        task=ascii_of(letter.task),
        content_type=ascii_of(letter.content_type),
    )
    logger.error(Event.DELIVERY_REFUSED, {"job": letter.id, "error": reason})
    with database.transaction() as connection:
        dead_letters.write_dead_letters(connection, [plain])
