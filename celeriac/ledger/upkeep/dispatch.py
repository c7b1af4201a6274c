"""Dispatch: find the rows whose messages are due, and mark them as sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, Connection, Select, Update, bindparam, func, null, select, update
from sqlalchemy import cast as sql_cast

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Instant, evaluated_once, now
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting
from celeriac.ledger.writes.claims import MESSAGE_COLUMNS, Message

_UNSENT = JOBS.c.dispatched.is_(None)  # only of waiting rows: a CHECK constraint ensures it


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


def unmark(connection: Connection, ids: Sequence[UUID]) -> None:
    """Mark rows that still wait as not sent."""
    dialect = connection.dialect.name
    connection.execute(_unmark(dialect), batch.id_parameters(dialect, ids))


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
    chosen = (
        select(JOBS.c.id)
        .where(
            _UNSENT, JOBS.c.priority == bindparam("level"), JOBS.c.next_attempt_after <= evaluated_once(now())
        )
        .order_by(JOBS.c.next_attempt_after)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(chosen))
        .values(dispatched=now(), dispatch_count=JOBS.c.dispatch_count + 1)
        .returning(*MESSAGE_COLUMNS, JOBS.c.next_attempt_after)
    )


@lru_cache
def _unmark(dialect: str) -> Update:
    waiting = in_order(batch.id_in(dialect, JOBS.c.id), is_waiting(by_id=True))
    return update(JOBS).where(JOBS.c.id.in_(waiting)).values(dispatched=null())
