"""Dead letters: failed jobs, seen in groups of the same cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Delete, Select, Update, and_, bindparam, delete, func, select, update

from app.ledger import batch
from app.ledger.lifecycle import JobState
from app.ledger.models import FAILURES, JOBS


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one task that failed with the same exception in the same place."""

    task: str
    exception_type: str | None
    frame: str | None
    count: int
    first: datetime
    last: datetime


def groups(connection: Connection, *, limit: int) -> list[Group]:
    """The largest groups of dead letters, by task, exception and failing frame of the last attempt."""
    return [Group(*row) for row in connection.execute(_groups(), {"most": limit})]


def members(
    connection: Connection,
    *,
    task: str | None = None,
    exception_type: str | None = None,
    frame: str | None = None,
    limit: int,
    beyond: UUID | None = None,
) -> list[UUID]:
    """Ids of dead letters in id order; what is None does not narrow."""
    last = _last_attempt()
    chosen = (
        select(JOBS.c.id)
        .select_from(JOBS.outerjoin(last, last.c.job_id == JOBS.c.id))
        .where(JOBS.c.state == JobState.FAILED)
    )
    if task is not None:
        chosen = chosen.where(JOBS.c.job_type == task)
    if exception_type is not None:
        chosen = chosen.where(last.c.exception_type == exception_type)
    if frame is not None:
        chosen = chosen.where(last.c.frame == frame)
    if beyond is not None:
        chosen = chosen.where(JOBS.c.id > beyond)
    return list(connection.execute(chosen.order_by(JOBS.c.id).limit(limit)).scalars())


def discard(connection: Connection, ids: Sequence[UUID]) -> int:
    """Delete dead letters with their attempts; return how many there were."""
    dialect = connection.dialect.name
    return connection.execute(_discard(dialect), batch.ids(dialect, ids)).rowcount


def edit(connection: Connection, job: UUID, *, payload: bytes, headers: dict[str, Any]) -> bool:
    """Give a dead letter another message; False when it is none any more."""
    values = {"job": job, "to_payload": payload, "to_headers": headers}
    return bool(connection.execute(_edit(), values).rowcount)


def _last_attempt() -> Any:
    newest = select(FAILURES.c.job_id, func.max(FAILURES.c.attempt).label("attempt")).group_by(
        FAILURES.c.job_id
    )
    last = newest.subquery("newest")
    same = and_(last.c.job_id == FAILURES.c.job_id, last.c.attempt == FAILURES.c.attempt)
    columns = (FAILURES.c.job_id, FAILURES.c.exception_type, FAILURES.c.frame)
    return select(*columns).join(last, same).subquery("last")


@lru_cache
def _groups() -> Select[Any]:
    last = _last_attempt()
    keys = (JOBS.c.job_type, last.c.exception_type, last.c.frame)
    count = func.count().label("count")
    return (
        select(*keys, count, func.min(JOBS.c.finished), func.max(JOBS.c.finished))
        .select_from(JOBS.outerjoin(last, last.c.job_id == JOBS.c.id))
        .where(JOBS.c.state == JobState.FAILED)
        .group_by(*keys)
        .order_by(count.desc())
        .limit(bindparam("most"))
    )


@lru_cache
def _discard(dialect: str) -> Delete:
    return delete(JOBS).where(batch.among(dialect, JOBS.c.id), JOBS.c.state == JobState.FAILED)


@lru_cache
def _edit() -> Update:
    return (
        update(JOBS)
        .where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type), JOBS.c.state == JobState.FAILED)
        .values(
            payload=bindparam("to_payload", type_=JOBS.c.payload.type),
            headers=bindparam("to_headers", type_=JOBS.c.headers.type),
        )
    )
