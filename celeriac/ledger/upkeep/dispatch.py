"""Dispatch: find the rows whose messages are due, and mark them as sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, Connection, Select, Update, and_, bindparam, case, func, null, select, update
from sqlalchemy import cast as sql_cast

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Instant, evaluated_once, now
from celeriac.ledger.schema.holding import is_to_hold, word_of_row
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting
from celeriac.ledger.writes.claims import MESSAGE_COLUMNS, Message

#: Only of waiting rows: a CHECK constraint ensures it. A held row is none of them, nor one that
#: waits for a permit; neither is in their index.
_UNSENT = and_(JOBS.c.dispatched.is_(None), JOBS.c.held.is_(None), JOBS.c.line.is_(None))


@dataclass(frozen=True, slots=True)
class Level:
    """A priority with unsent messages, and the time until the first of them is due."""

    priority: int
    due_in: float  # seconds; negative when overdue


def levels(connection: Connection) -> list[Level]:
    """The priorities with unsent messages, highest first. The cost does not grow with the number of rows."""
    rows = connection.execute(_levels()).all()
    return [Level(row.priority, (row.earliest - row.clock).total_seconds()) for row in rows]


def take_due(connection: Connection, priority: int, *, limit: int) -> list[Message]:
    """Mark up to ``limit`` due rows of ``priority`` as dispatched, the earliest first; return their messages.

    Commit before anything is sent, so that no lock is held during network traffic. A message that is lost
    after the mark is found by the search for lost messages.
    """
    rows = connection.execute(_take_due(), {"level": priority, "most": limit}).all()
    return [Message(*row[:-1]) for row in sorted(rows, key=lambda row: row.next_attempt_after)]


def take_or_hold(connection: Connection, priority: int, *, limit: int) -> tuple[list[Message], int]:
    """As ``take_due``, while something is paused: due rows of a paused queue or task are held instead.

    Returns:
        The messages, and how many rows were held.
    """
    rows = connection.execute(_take_or_hold(), {"level": priority, "most": limit}).all()
    sent = sorted((row for row in rows if row.held is None), key=lambda row: row.next_attempt_after)
    return [Message(*row[:-2]) for row in sent], len(rows) - len(sent)


def unmark(connection: Connection, ids: Sequence[UUID], *, skip: bool = False) -> None:
    """Mark rows that still wait as not sent.

    Args:
        skip: leave out rows that another transaction has locked, instead of waiting for them.
    """
    dialect = connection.dialect.name
    connection.execute(_unmark(dialect, skip), batch.id_parameters(dialect, ids))


def unsent_priorities() -> CTE:
    """The priorities of rows whose message was not sent, each found by one search of the index.

    For joins: the index of unsent rows begins with the priority. The last row is null.
    """
    first = select(func.max(JOBS.c.priority).label("priority")).where(_UNSENT).cte("level", recursive=True)
    lower = (
        select(func.max(JOBS.c.priority))
        .where(_UNSENT, JOBS.c.priority < first.c.priority)
        .correlate(first)
        .scalar_subquery()
    )
    return first.union_all(select(lower).where(first.c.priority.is_not(None)))


@lru_cache
def _levels() -> Select[Any]:
    level = unsent_priorities()
    earliest = (
        select(func.min(JOBS.c.next_attempt_after))
        .where(_UNSENT, JOBS.c.priority == level.c.priority)
        .correlate(level)
        .scalar_subquery()
    )
    return (
        select(level.c.priority, earliest.label("earliest"), sql_cast(now(), Instant).label("clock"))
        .where(level.c.priority.is_not(None))
        .order_by(level.c.priority.desc())
    )


@lru_cache
def _take_due() -> Update:
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(_due()))
        .values(dispatched=now(), dispatch_count=JOBS.c.dispatch_count + 1)
        .returning(*MESSAGE_COLUMNS, JOBS.c.next_attempt_after)
    )


@lru_cache
def _take_or_hold() -> Update:
    hold = is_to_hold()
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(_due()))
        .values(
            dispatched=case((hold, sql_cast(null(), Instant)), else_=now()),
            dispatch_count=JOBS.c.dispatch_count + case((hold, 0), else_=1),
            held=case((hold, word_of_row())),
        )
        .returning(*MESSAGE_COLUMNS, JOBS.c.next_attempt_after, JOBS.c.held)
    )


def _due() -> Select[Any]:
    return (
        select(JOBS.c.id)
        .where(
            _UNSENT, JOBS.c.priority == bindparam("level"), JOBS.c.next_attempt_after <= evaluated_once(now())
        )
        .order_by(JOBS.c.next_attempt_after)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


@lru_cache
def _unmark(dialect: str, skip: bool) -> Update:
    waiting = in_order(batch.id_in(dialect, JOBS.c.id), is_waiting(by_id=True), skip=skip)
    return update(JOBS).where(JOBS.c.id.in_(waiting)).values(dispatched=null())
