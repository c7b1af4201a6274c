"""Schedules: their rows, and the guarded move from one due time to the next.

``celeriac.schedules`` computes the due times; this module only stores them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Update,
    Uuid,
    and_,
    bindparam,
    delete,
    func,
    null,
    or_,
    select,
    true,
    update,
)

from celeriac.ledger.schema.batch import id_in, id_parameters
from celeriac.ledger.schema.columns import Instant, insert_of, now
from celeriac.ledger.schema.models import JOBS, SCHEDULES
from celeriac.ledger.schema.state_conditions import is_unfinished

#: Columns that a definition sets. The other columns are history, which a new definition keeps.
DEFINED = (
    "task",
    "args",
    "kwargs",
    "options",
    "kind",
    "expression",
    "timezone",
    "starts",
    "ends",
    "catch_up",
    "catch_up_limit",
    "overlap",
    "jitter",
    "static",
    "enabled",
    "anchor",
    "next_run",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """The move of one schedule to its next due time.

    Attributes:
        due: the ``next_run`` that was read; a row that has another one now is left as it is.
        last_run: the newest due time that was fired; None: none was.
        fired: how many were.
        skipped: the newest due time that was not fired, with its reason; None: none was.
    """

    name: str
    due: datetime
    next_run: datetime | None
    last_run: datetime | None = None
    fired: int = 0
    last_job_id: UUID | None = None
    skipped: datetime | None = None
    reason: str | None = None


def queues(connection: Connection) -> list[str]:
    """The queues that schedules name for their jobs."""
    named = SCHEDULES.c.options["queue"].as_string()
    return [row[0] for row in connection.execute(select(named).where(named.is_not(None)).distinct())]


def clock(connection: Connection) -> datetime:
    """The database's clock."""
    return connection.execute(select(now())).scalar_one()


def find(connection: Connection, name: str, *, lock: bool = False) -> Row[Any] | None:
    """The row of that name.

    Args:
        lock: lock it until the transaction ends, so that no beat fires it meanwhile.
    """
    query = select(SCHEDULES).where(SCHEDULES.c.name == name)
    return connection.execute(query.with_for_update() if lock else query).first()


def page(connection: Connection, *, retired: bool = False) -> list[Row[Any]]:
    """Every row, by name.

    Args:
        retired: also those that were taken out of the project's file.
    """
    query = select(SCHEDULES).order_by(SCHEDULES.c.name)
    return list(connection.execute(query if retired else query.where(SCHEDULES.c.retired.is_(None))).all())


def some(connection: Connection, names: Sequence[str]) -> list[Row[Any]]:
    return list(connection.execute(select(SCHEDULES).where(SCHEDULES.c.name.in_(names))).all())


def versions(connection: Connection) -> dict[str, datetime]:
    """When each row was changed, by name; without those that are retired."""
    query = select(SCHEDULES.c.name, SCHEDULES.c.changed).where(SCHEDULES.c.retired.is_(None))
    return {row.name: row.changed for row in connection.execute(query)}


def put(connection: Connection, name: str, values: Mapping[str, Any]) -> None:
    """Write the definition of a schedule; a row that exists keeps its history.

    Args:
        values: all of ``DEFINED``.
    """
    insert = insert_of(connection.dialect.name)
    defined = {key: values[key] for key in DEFINED}
    statement = insert(SCHEDULES).values(name=name, created=now(), changed=now(), **defined)
    statement = statement.on_conflict_do_update(
        index_elements=["name"], set_={**defined, "retired": null(), "changed": now()}
    )
    connection.execute(statement)


def remove(connection: Connection, name: str) -> bool:
    """Delete the row; return whether there was one. The jobs that it made stay."""
    return bool(connection.execute(delete(SCHEDULES).where(SCHEDULES.c.name == name)).rowcount)


def switch(connection: Connection, name: str, *, enabled: bool, next_run: datetime | None) -> None:
    """Enable or disable a schedule."""
    connection.execute(
        update(SCHEDULES)
        .where(SCHEDULES.c.name == name)
        .values(enabled=enabled, next_run=next_run, changed=now())
    )


def carry_over(
    connection: Connection,
    name: str,
    *,
    anchor: datetime,
    last_run: datetime | None,
    next_run: datetime | None,
    run_count: int,
) -> None:
    """Give a schedule the history that it had in another scheduler."""
    state = {"anchor": anchor, "last_run": last_run, "next_run": next_run, "run_count": run_count}
    connection.execute(update(SCHEDULES).where(SCHEDULES.c.name == name).values(**state, changed=now()))


def retire(connection: Connection, keep: Sequence[str]) -> list[str]:
    """Take out of service every static schedule that is not one of ``keep``; return their names."""
    gone = and_(SCHEDULES.c.static == true(), SCHEDULES.c.retired.is_(None), SCHEDULES.c.name.not_in(keep))
    statement = update(SCHEDULES).where(gone).values(retired=now(), next_run=null(), changed=now())
    return list(connection.execute(statement.returning(SCHEDULES.c.name)).scalars())


def due(
    connection: Connection, moment: datetime, *, limit: int, but: Sequence[str] = (), only: str | None = None
) -> list[Row[Any]]:
    """Rows that are due at ``moment``, the longest due first; locked until the transaction ends.

    Rows that another beat is firing now are left out.
    """
    wanted = [SCHEDULES.c.next_run <= moment, SCHEDULES.c.enabled == true()]
    if but:
        wanted.append(SCHEDULES.c.name.not_in(but))
    if only is not None:
        wanted.append(SCHEDULES.c.name == only)
    query = select(SCHEDULES).where(*wanted).order_by(SCHEDULES.c.next_run).limit(limit)
    return list(connection.execute(query.with_for_update(skip_locked=True)).all())


def next_due(connection: Connection, *, but: Sequence[str] = ()) -> tuple[datetime, datetime | None]:
    """The database's clock, and the first due time of all."""
    query = select(now(), func.min(SCHEDULES.c.next_run)).where(SCHEDULES.c.next_run.is_not(None))
    if but:
        query = query.where(SCHEDULES.c.name.not_in(but))
    clock, first = connection.execute(query).one()
    return clock, first


def busy(connection: Connection, jobs: Sequence[UUID]) -> set[UUID]:
    """Which of ``jobs`` are not terminal."""
    if not jobs:
        return set()
    dialect = connection.dialect.name
    return set(connection.execute(_busy(dialect), id_parameters(dialect, jobs)).scalars())


def advance(connection: Connection, moves: Sequence[Advance]) -> None:
    """Move schedules on to their next due times; guarded, so that no due time counts twice."""
    if not moves:
        return
    rows = [
        {
            "of": move.name,
            "found": move.due,
            "following": move.next_run,
            "newest": move.last_run,
            "fired": move.fired,
            "job": move.last_job_id,
            "passed": move.skipped,
            "because": move.reason,
        }
        for move in moves
    ]
    connection.execute(_advance(), rows)


def count_run(connection: Connection, name: str, job: UUID) -> None:
    """Count a job that was asked for by hand; the due times stay as they are."""
    values = {"run_count": SCHEDULES.c.run_count + 1, "last_job_id": job, "changed": now()}
    connection.execute(update(SCHEDULES).where(SCHEDULES.c.name == name).values(values))


def complain(connection: Connection, name: str, reason: str) -> None:
    """Write why a due schedule cannot be fired; it stays due."""
    noted = and_(
        SCHEDULES.c.name == name,
        SCHEDULES.c.next_run.is_not(None),
        or_(SCHEDULES.c.skip_reason.is_(None), SCHEDULES.c.skip_reason != reason),
    )
    values = {"last_skipped": SCHEDULES.c.next_run, "skip_reason": reason, "changed": now()}
    connection.execute(update(SCHEDULES).where(noted).values(values))


@lru_cache
def _busy(dialect: str) -> Select[Any]:
    return select(JOBS.c.id).where(id_in(dialect, JOBS.c.id), is_unfinished())


@lru_cache
def _advance() -> Update:
    newest = bindparam("newest", type_=Instant)
    job = bindparam("job", type_=Uuid)
    passed = bindparam("passed", type_=Instant)
    moved = {
        "next_run": bindparam("following", type_=Instant),
        "last_run": func.coalesce(newest, SCHEDULES.c.last_run),
        "run_count": SCHEDULES.c.run_count + bindparam("fired", type_=SCHEDULES.c.run_count.type),
        "last_job_id": func.coalesce(job, SCHEDULES.c.last_job_id),
        "last_skipped": func.coalesce(passed, SCHEDULES.c.last_skipped),
        "skip_reason": func.coalesce(
            bindparam("because", type_=SCHEDULES.c.skip_reason.type), SCHEDULES.c.skip_reason
        ),
        "changed": now(),
    }
    found = and_(
        SCHEDULES.c.name == bindparam("of"), SCHEDULES.c.next_run == bindparam("found", type_=Instant)
    )
    return update(SCHEDULES).where(found).values(moved)
