"""Counts of jobs by queue: waiting, running, accepted lately and ended lately."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, func, or_, select, true, union_all

from celeriac.ledger.schema.columns import FOLLOWING, now
from celeriac.ledger.schema.distinct_values import distinct_values
from celeriac.ledger.schema.lifecycle import WAITING, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_in, is_waiting, is_waiting_as_indexed


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


def depths(connection: Connection, *, most: int | None = None) -> list[Depth]:
    """What waits and what runs, by queue; a queue without either is missing.

    Args:
        most: on PostgreSQL, look at so many waiting jobs of each queue, those whose messages were sent first;
            what is counted costs no more then, however many wait. None: at all of them.
    """
    if most is None or connection.dialect.name != "postgresql":
        rows: Any = JOBS
        wanted = or_(is_waiting(), JOBS.c.worker_id.is_not(None))
    else:
        rows, wanted = _first_of_each_queue(most), true()
    c = rows.c
    moment = select(now()).scalar_subquery()
    in_line = and_(c.line.is_not(None), c.fair_key.is_(None), c.dispatched.is_(None))
    held = or_(c.held.is_not(None), and_(in_line, c.next_attempt_after <= moment))
    due = and_(~held, c.next_attempt_after <= moment)
    parked = c.next_attempt_after >= FOLLOWING
    kinds = {
        "sent": and_(due, c.dispatched.is_not(None)),
        "unsent": and_(due, c.dispatched.is_(None)),
        "later": and_(~held, ~due, ~parked),
        "parked": and_(~held, parked),
        "held": held,
        "retrying": is_in(JobState.ERROR, c=c),
    }
    waits = is_in(*WAITING, c=c)
    counted = [func.count(case((and_(waits, kind), 1))).label(name) for name, kind in kinds.items()]
    oldest = func.min(case((and_(waits, due), c.next_attempt_after))).label("oldest")
    running = func.count(c.worker_id).label("running")
    grouped = select(c.queue, *counted, running, oldest).where(wanted).group_by(c.queue)
    return [Depth(**row._mapping) for row in connection.execute(grouped)]


def _first_of_each_queue(most: int) -> Any:
    """Up to so many waiting jobs of each queue, and all that run."""
    names = ("queue", "state", "line", "fair_key", "dispatched", "next_attempt_after", "held", "worker_id")
    columns = [JOBS.c[name] for name in names]
    waits = is_waiting_as_indexed()
    queue = distinct_values(JOBS.c.queue, waits)
    first = select(*columns).where(waits, JOBS.c.queue == queue.c.value)
    each = first.order_by(JOBS.c.dispatched).limit(most).correlate(queue).lateral()
    running = select(*columns).where(JOBS.c.worker_id.is_not(None))
    return union_all(select(*each.c).select_from(queue).join(each, true()), running).subquery("some")


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
