"""Due times that schedules passed over, and why. Fires write them; they are kept as long as jobs are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Insert, Row, bindparam, delete, func, select

from celeriac.ledger.schema.columns import Instant, Seconds, after, evaluated_once, insert_of
from celeriac.ledger.schema.operator_tables import SCHEDULE_SKIPS as SKIPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Due times that made no job.

    Attributes:
        first, last: the oldest and the newest of them.
        before: the due time that was skipped just before, for the same reason: these belong to it.
    """

    schedule: str
    first: datetime
    last: datetime
    reason: str
    before: datetime | None = None


def note(connection: Connection, skips: Sequence[Skip]) -> None:
    """Write them. What goes on for the same reason stays one row, however often a schedule is due."""
    if not skips:
        return
    rows = [
        {"of": one.schedule, "from": one.first, "to": one.last, "because": one.reason, "before": one.before}
        for one in skips
    ]
    connection.execute(_note(connection.dialect.name), rows)
    if longer := [{"of": row["of"], "before": row["before"]} for row in rows if row["before"]]:
        connection.execute(delete(SKIPS).where(_is_before()), longer)


def newest(connection: Connection, schedule: str, *, limit: int) -> list[Row[Any]]:
    """``first``, ``last`` and ``reason`` of the newest rows of ``schedule``, the newest first."""
    query = select(SKIPS.c.first, SKIPS.c.last, SKIPS.c.reason).where(SKIPS.c.schedule == schedule)
    return list(connection.execute(query.order_by(SKIPS.c.last.desc()).limit(limit)))


def forget(connection: Connection, schedule: str) -> None:
    """Delete those of a schedule that is removed."""
    connection.execute(delete(SKIPS).where(SKIPS.c.schedule == schedule))


def prune(connection: Connection, *, age: float, limit: int) -> int:
    """Delete up to ``limit`` rows of due times more than ``age`` seconds ago; return how many."""
    cutoff = evaluated_once(after(bindparam("age", type_=Seconds)))
    old = select(SKIPS.c.schedule, SKIPS.c.last).where(SKIPS.c.last < cutoff).limit(bindparam("most"))
    found = connection.execute(old, {"age": -age, "most": limit}).all()
    if found:
        rows = [{"of": row.schedule, "before": row.last} for row in found]
        connection.execute(delete(SKIPS).where(_is_before()), rows)
    return len(found)


def _is_before() -> Any:
    return (SKIPS.c.schedule == bindparam("of")) & (SKIPS.c.last == bindparam("before", type_=Instant))


@lru_cache
def _note(dialect: str) -> Insert:
    began = select(SKIPS.c.first).where(_is_before()).scalar_subquery()
    made = insert_of(dialect)(SKIPS).values(
        schedule=bindparam("of"),
        first=func.coalesce(began, bindparam("from", type_=Instant)),
        last=bindparam("to", type_=Instant),
        reason=bindparam("because"),
    )
    return made.on_conflict_do_nothing()
