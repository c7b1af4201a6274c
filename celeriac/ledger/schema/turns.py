"""The turn of a job in a fair queue: computed as its row is written, without a lock. Ties are harmless."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, case, cast, func, null, select

from celeriac.ledger.schema.models import JOBS

#: Rows that have a turn and wait; spelled as in the index.
WAITING_FOR_TURN = and_(JOBS.c.turn.is_not(None), JOBS.c.dispatched.is_(None), JOBS.c.held.is_(None))


def next_turn(dialect: str, *, line: Any, priority: Any, key: Any, step: Any) -> ColumnElement[Any]:
    """The lowest turn that waits, or the next one of its tenant where that is higher."""
    others = JOBS.alias("others")
    waits = and_(others.c.turn.is_not(None), others.c.dispatched.is_(None), others.c.held.is_(None))
    level = and_(waits, others.c.line == line, others.c.priority == priority)
    lowest = select(func.min(others.c.turn)).where(level).scalar_subquery()
    last = select(func.max(others.c.turn)).where(level, others.c.fair_key == key).scalar_subquery()
    larger = func.greatest if dialect == "postgresql" else func.max
    found: ColumnElement[Any] = larger(func.coalesce(lowest, 0), func.coalesce(last + step, 0))
    return found


def turn_with(step: Any, value: Any) -> ColumnElement[Any]:
    """``value``; null without a step: the job is not due, and gets its turn later."""
    return case((step.is_(None), cast(null(), BigInteger)), else_=value)
