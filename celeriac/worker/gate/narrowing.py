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
from celeriac.worker.gate.turn_input import Aside, TurnInput

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The database refuses what was to be written, as the cause says; nothing of it was."""

    @property
    def why(self) -> BaseException:
        return self.__cause__ or self


def one_by_one(
    work: TurnInput,
    *,
    room: int,
    take: Callable[[TurnInput, int], TurnInput],
    bury: Callable[[Any, str], None],
) -> TurnInput:
    """Take ``work`` part by part; return what is left of it. What is done has left ``work`` at once.

    Args:
        room: how many jobs may be claimed.
        take: does some work in one transaction, with so much room; raises Refused.
        bury: makes a dead letter of a delivery, for a reason.

    Raises:
        Exception: of the database's server; or what it said of a delivery that cannot even be buried.
    """
    if work.unsure:
        take(TurnInput(unsure=work.unsure), 0)
        work.unsure = set()
    while work.reports:
        work.aside += _write(work.reports[0], take)
        del work.reports[0]
    for _ in range(min(room, len(work.arrived))):
        message = work.arrived.pop(0)
        try:
            work.unsure |= _receive(message, take, bury)
        except BaseException:
            work.arrived.append(message)  # behind the others, which must not wait for it
            raise
    return TurnInput(arrived=work.arrived, unsure=work.unsure, aside=work.aside)


def _write(reports: AttemptReport, take: Callable[[TurnInput, int], TurnInput]) -> list[Aside]:
    try:
        return take(TurnInput(reports=[reports]), 0).aside
    except Refused as exc:
        reason = f"{kind(exc.why)}: {said(exc.why)}"
        letter = replace(reports, outcome=dead_letter(reports.outcome, exc.why), wants_result=False)
    fields = {"job": reports.outcome.id, "attempt": reports.outcome.attempt, "error": reason}
    logger.error(Event.OUTCOME_REFUSED, fields)
    try:
        return take(TurnInput(reports=[letter]), 0).aside
    except Refused:
        return [Aside.refused(reports, reason)]


def _receive(
    message: Any, take: Callable[[TurnInput, int], TurnInput], bury: Callable[[Any, str], None]
) -> set[UUID]:
    part = TurnInput(arrived=[message])
    try:
        take(part, 1)
    except Refused as exc:
        bury(message, f"the database refused it: {kind(exc.why)}: {said(exc.why)}")
    return part.unsure


def dead_letter(outcome: Outcome, error: BaseException) -> Outcome:
    """What is recorded in place of an outcome that the database refuses."""
    reason = f"the database refused its outcome ({outcome.state}): {said(error)}"
    failure = Failure(AttemptKind.INVALID, kind(error), reason)
    return Outcome(id=outcome.id, attempt=outcome.attempt, state=JobState.FAILED, failure=failure)
