"""A waiting job's place: how many jobs go before it, and how many it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, and_, func, or_, select

from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_unfinished, is_waiting

_waits = is_waiting()

#: Jobs ahead of another are counted up to here.
MOST_AHEAD = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What goes before a job that is due; each number is at most ``MOST_AHEAD``."""

    sent: int  # of its queue, sent before it and claimed by nobody yet
    unsent: int  # due, whose messages the dispatcher sends before its own
    drawn_first: int  # sent, in queues from which workers draw before its own


def position(connection: Connection, job: Row[Any], *, drawn_before: Sequence[str]) -> Position:
    """How many jobs go before ``job``.

    Args:
        drawn_before: the queues from which workers draw before its own.
    """
    sent = and_(_waits, JOBS.c.queue == job.queue, JOBS.c.dispatched.is_not(None))
    due = JOBS.c.next_attempt_after <= select(now()).scalar_subquery()
    unsent = and_(JOBS.c.dispatched.is_(None), JOBS.c.held.is_(None), JOBS.c.line.is_(None), due)
    if job.dispatched is None:
        same = and_(JOBS.c.priority == job.priority, JOBS.c.next_attempt_after < job.next_attempt_after)
        unsent = and_(unsent, or_(JOBS.c.priority > job.priority, same))
    else:
        sent = and_(sent, JOBS.c.dispatched < job.dispatched)
    others = and_(_waits, JOBS.c.queue.in_(drawn_before), JOBS.c.dispatched.is_not(None))
    return Position(
        sent=_count(connection, sent),
        unsent=_count(connection, unsent) if job.dispatched is None else 0,
        drawn_first=_count(connection, others) if drawn_before else 0,
    )


def members_left(connection: Connection, group: UUID, *, but: UUID) -> int:
    """How many jobs of a group are not terminal."""
    return _count(connection, and_(JOBS.c.group_id == group, JOBS.c.id != but, is_unfinished()))


def _count(connection: Connection, condition: Any) -> int:
    bounded = select(JOBS.c.id).where(condition).limit(MOST_AHEAD).subquery()
    return int(connection.execute(select(func.count()).select_from(bounded)).scalar_one())
