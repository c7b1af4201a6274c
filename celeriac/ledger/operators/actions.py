"""Who did what: each row is written in the transaction of what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, literal, null, select, tuple_

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.operator_tables import ACTIONS

#: The action of a row that keeps an answer (``requests.py``), and records nothing.
REQUEST = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which actions are wanted; what is None does not narrow."""

    who: str | None = None
    action: str | None = None
    job: UUID | None = None
    since: datetime | timedelta | None = None  # begun at or after; a span: so long before now
    until: datetime | timedelta | None = None  # begun before


def write(connection: Connection, values: Mapping[str, Any]) -> UUID:
    """Write an action that is done; return its id.

    Args:
        values: id, who, via, action, subject, job_id, reason, counted, done.
    """
    moment = now()
    row = {**values, "parameters": null(), "began": moment, "touched": moment, "ended": moment}
    connection.execute(insert(ACTIONS).values(row))
    id: UUID = values["id"]
    return id


def page(
    connection: Connection, wanted: Wanted, *, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[Row[Any]]:
    """Up to ``limit`` actions, the newest first.

    Args:
        after: only those after this key: when it began, and its id.
    """
    equal = {ACTIONS.c.who: wanted.who, ACTIONS.c.action: wanted.action, ACTIONS.c.job_id: wanted.job}
    chosen = select(ACTIONS).where(*(column == value for column, value in equal.items() if value is not None))
    chosen = chosen.where(ACTIONS.c.action != REQUEST)
    if wanted.since is not None:
        chosen = chosen.where(ACTIONS.c.began >= _moment(connection, wanted.since))
    if wanted.until is not None:
        chosen = chosen.where(ACTIONS.c.began < _moment(connection, wanted.until))
    if after is not None:
        key = tuple_(literal(after[0], ACTIONS.c.began.type), literal(after[1], ACTIONS.c.id.type))
        chosen = chosen.where(tuple_(ACTIONS.c.began, ACTIONS.c.id) < key)
    return list(connection.execute(chosen.order_by(ACTIONS.c.began.desc(), ACTIONS.c.id.desc()).limit(limit)))


def on_many(connection: Connection, *, since: datetime, limit: int) -> list[Row[Any]]:
    """Actions on many jobs that began at or after ``since``, the newest first."""
    many = ACTIONS.c.parameters.is_not(None) & (ACTIONS.c.action != REQUEST)
    chosen = select(ACTIONS).where(ACTIONS.c.began >= since, many)
    return list(connection.execute(chosen.order_by(ACTIONS.c.began.desc(), ACTIONS.c.id.desc()).limit(limit)))


def find(connection: Connection, id: UUID) -> Row[Any] | None:
    """The action of that id; None when there is none."""
    return connection.execute(select(ACTIONS).where(ACTIONS.c.id == id)).one_or_none()


def _moment(connection: Connection, given: datetime | timedelta) -> datetime:
    return clock(connection) - given if isinstance(given, timedelta) else given
