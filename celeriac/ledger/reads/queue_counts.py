"""Counts of jobs by queue: waiting, running, accepted lately and ended lately."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, case, func, or_, select

from celeriac.ledger.schema.columns import PARKED, now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_in, is_waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The jobs of one queue that wait or run."""

    queue: str
    sent: int  # due, a message was sent
    unsent: int  # due, the dispatcher has to send their message
    later: int  # not due yet
    parked: int  # wait for other jobs
    held: int  # kept because their queue or task is paused, or due and waiting for a limit
    retrying: int  # of all these, those with a failed attempt behind them
    running: int
    oldest: datetime | None  # since when the one that is due for the longest is due

    @property
    def due(self) -> int:
        return self.sent + self.unsent


def depths(connection: Connection) -> list[Depth]:
    """What waits and what runs, by queue; a queue without either is missing."""
    in_line = and_(JOBS.c.line.is_not(None), JOBS.c.fair_key.is_(None), JOBS.c.dispatched.is_(None))
    limited = and_(in_line, JOBS.c.next_attempt_after <= select(now()).scalar_subquery())
    held = or_(JOBS.c.held.is_not(None), limited)
    due = and_(~held, JOBS.c.next_attempt_after <= select(now()).scalar_subquery())
    parked = JOBS.c.next_attempt_after == PARKED
    kinds = {
        "sent": and_(due, JOBS.c.dispatched.is_not(None)),
        "unsent": and_(due, JOBS.c.dispatched.is_(None)),
        "later": and_(~held, ~due, ~parked),
        "parked": and_(~held, parked),
        "held": held,
        "retrying": is_in(JobState.ERROR),
    }
    waits = is_waiting()
    counted = [func.count(case((and_(waits, kind), 1))).label(name) for name, kind in kinds.items()]
    oldest = func.min(case((and_(waits, due), JOBS.c.next_attempt_after))).label("oldest")
    running = func.count(JOBS.c.worker_id).label("running")
    grouped = (
        select(JOBS.c.queue, *counted, running, oldest)
        .where(or_(waits, JOBS.c.worker_id.is_not(None)))
        .group_by(JOBS.c.queue)
    )
    return [Depth(**row._mapping) for row in connection.execute(grouped)]


def accepted(connection: Connection, since: datetime) -> dict[str, int]:
    """How many jobs each queue was given since then."""
    lately = select(JOBS.c.queue, func.count()).where(JOBS.c.queued >= since).group_by(JOBS.c.queue)
    return {row.queue: row[1] for row in connection.execute(lately)}


def ended(connection: Connection, since: datetime) -> dict[tuple[str, JobState], int]:
    """How many jobs came to an end since then, by queue and by what they came to."""
    lately = (
        select(JOBS.c.queue, JOBS.c.state, func.count())
        .where(JOBS.c.finished >= since)
        .group_by(JOBS.c.queue, JOBS.c.state)
    )
    return {(queue, JobState(state)): count for queue, state, count in connection.execute(lately)}
