"""Dead letters: failed jobs, in groups of the same cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Row,
    Select,
    String,
    Update,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    null,
    select,
    update,
)

from celeriac.headers import new_tag
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.state_conditions import is_dead_as_indexed, is_in

_EXAMPLE = 300  # characters


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one task that failed with the same exception in the same place.

    >>> result = welcome.delay(13)
    >>> dead = kit.drain()
    >>> group = dead_letters.groups()[0]
    >>> group.task, group.exception_type, group.count, group.example
    ('mail.welcome', 'ConnectionError', 1, 'no mail server')
    """

    task: str  # its name
    exception_type: str | None  # None: no exception was raised
    frame: str | None  # the place that raised, as file:function
    count: int  # how many
    first: datetime  # when the first of them ended; aware, in UTC
    last: datetime  # when the latest of them ended
    example: str | None  # what the exception of one of them said, its beginning


def groups(connection: Connection, *, limit: int, newest: int | None = None) -> list[Group]:
    """The largest groups of dead letters, by task, exception and failing frame of the last attempt.

    Args:
        newest: look at so many, those that failed last; None: at all.
    """
    parameters = {"most": limit} | ({} if newest is None else {"newest": newest})
    query = _groups(connection.dialect.name, newest is not None)
    return [Group(*row) for row in connection.execute(query, parameters)]


def members(
    connection: Connection,
    *,
    task: str | None = None,
    exception_type: str | None = None,
    frame: str | None = None,
    exactly: bool = False,
    until: datetime | None = None,
    limit: int,
    beyond: UUID | None = None,
) -> list[UUID]:
    """Ids of dead letters in id order. A filter that is None is not applied.

    Args:
        exactly: a filter that is None matches rows without that value, as the members of one group.
        until: only those that failed before it.
    """
    chosen = _members(select(JOBS.c.id), task, exception_type, frame, exactly, until)
    if beyond is not None:
        chosen = chosen.where(JOBS.c.id > beyond)
    return list(connection.execute(chosen.order_by(JOBS.c.id).limit(limit)).scalars())


def oldest(
    connection: Connection,
    *,
    task: str | None,
    exception_type: str | None,
    frame: str | None,
    exactly: bool,
    limit: int,
) -> list[UUID]:
    """Ids of the dead letters that were accepted first; the filter as of ``members``.

    An index has dead letters in this order: few are looked at. In the order of ids all would be.
    """
    chosen = _members(select(JOBS.c.id), task, exception_type, frame, exactly, None)
    return list(connection.execute(chosen.order_by(JOBS.c.queued, JOBS.c.id).limit(limit)).scalars())


def newest(
    connection: Connection, *, task: str | None, exception_type: str | None, frame: str | None, limit: int
) -> list[Row[Any]]:
    """The dead letters of one group that were accepted last: id, queue, user, worker, when it ended."""
    columns = (JOBS.c.id, JOBS.c.queue, JOBS.c.user_id, FAILURES.c.worker_id, JOBS.c.finished)
    chosen = _members(select(*columns), task, exception_type, frame, True, None)
    return list(connection.execute(chosen.order_by(JOBS.c.queued.desc(), JOBS.c.id.desc()).limit(limit)))


def count_members(
    connection: Connection,
    *,
    task: str | None = None,
    exception_type: str | None = None,
    frame: str | None = None,
    exactly: bool = False,
    until: datetime | None = None,
) -> int:
    """How many dead letters ``members`` would find."""
    counted = _members(select(func.count()), task, exception_type, frame, exactly, until)
    return int(connection.execute(counted).scalar_one())


def discard(connection: Connection, ids: Sequence[UUID]) -> int:
    """Delete dead letters with their attempts; return how many there were."""
    dialect = connection.dialect.name
    return connection.execute(_discard(dialect), batch.id_parameters(dialect, ids)).rowcount


def edit(
    connection: Connection, job: UUID, *, payload: bytes, headers: dict[str, Any], key: str | None
) -> bool:
    """Give a dead letter another message; False when the job is no dead letter any more.

    It follows no other job any more, since it says something else.

    Args:
        key: its unique key; None: the one that it has.
    """
    values = {"job": job, "to_payload": payload, "to_headers": headers, "to_tag": new_tag(), "to_key": key}
    return bool(connection.execute(_edit(), values).rowcount)


def _members(
    chosen: Select[Any],
    task: str | None,
    exception_type: str | None,
    frame: str | None,
    exactly: bool,
    until: datetime | None,
) -> Select[Any]:
    chosen = chosen.select_from(_with_last_attempt()).where(is_in(JobState.FAILED))
    asked = {JOBS.c.job_type: task, FAILURES.c.exception_type: exception_type, FAILURES.c.frame: frame}
    for column, value in asked.items():
        if value is not None or exactly:
            chosen = chosen.where(column.is_not_distinct_from(value))
    return chosen if until is None else chosen.where(JOBS.c.finished < until)


def _with_last_attempt(jobs: Any = JOBS) -> Any:
    """Jobs joined with their last failed attempts; each is looked up."""
    other = FAILURES.alias("other")
    newest = select(func.max(other.c.attempt)).where(other.c.job_id == jobs.c.id).scalar_subquery()
    last = and_(FAILURES.c.job_id == jobs.c.id, FAILURES.c.attempt == newest)
    return jobs.outerjoin(FAILURES, last)


@lru_cache
def _groups(dialect: str, some: bool) -> Select[Any]:
    """What is said by none of the attempts of a group is read of one job."""
    columns = JOBS.c.id, JOBS.c.job_type, JOBS.c.finished
    chosen = select(*columns).where(is_dead_as_indexed())
    if some:
        dead: Any = chosen.order_by(JOBS.c.finished.desc()).limit(bindparam("newest")).subquery("dead")
        attempts, joined = FAILURES, _with_last_attempt(dead)
    else:
        dead, attempts = chosen.subquery("dead"), _last_attempts()
        joined = dead.outerjoin(attempts, attempts.c.job_id == dead.c.id)
    keys = (dead.c.job_type, attempts.c.exception_type, attempts.c.frame)
    said = func.substr(attempts.c.exception, 1, _EXAMPLE)
    grouped = (
        select(
            *keys,
            func.count().label("count"),
            func.min(dead.c.finished).label("first"),
            func.max(dead.c.finished).label("last"),
            # by bytes: a language's order would cost several times as much
            func.max(said.collate("C") if dialect == "postgresql" else said).label("said"),
            func.max(case((attempts.c.exception.is_(None), cast(dead.c.id, String)))).label("one"),
        )
        .select_from(joined)
        .group_by(*keys)
        .order_by(func.count().desc())
        .limit(bindparam("most"))
        .subquery("grouped")
    )
    *rest, example, one = grouped.c
    of_one = select(func.substr(JOBS.c.failure_info, 1, _EXAMPLE)).where(JOBS.c.id == cast(one, Uuid))
    return select(*rest, func.coalesce(example, of_one.scalar_subquery())).order_by(grouped.c.count.desc())


def _last_attempts() -> Any:
    """The last failed attempts of all jobs, in one go."""
    later = FAILURES.alias("later")
    follows = exists(select(later.c.job_id).where(_is_later(later)))
    names = ("job_id", "exception_type", "frame", "exception")
    return select(*(FAILURES.c[name] for name in names)).where(~follows).subquery("last_attempt")


def _is_later(other: Any) -> ColumnElement[bool]:
    return and_(other.c.job_id == FAILURES.c.job_id, other.c.attempt > FAILURES.c.attempt)


@lru_cache
def _discard(dialect: str) -> Delete:
    dead = in_order(batch.id_in(dialect, JOBS.c.id), is_in(JobState.FAILED, by_id=True))
    return delete(JOBS).where(JOBS.c.id.in_(dead))


@lru_cache
def _edit() -> Update:
    return (
        update(JOBS)
        .where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type), is_in(JobState.FAILED))
        .values(
            payload=bindparam("to_payload", type_=JOBS.c.payload.type),
            headers=bindparam("to_headers", type_=JOBS.c.headers.type),
            message_tag=bindparam("to_tag", type_=JOBS.c.message_tag.type),
            unique_key=func.coalesce(bindparam("to_key", type_=JOBS.c.unique_key.type), JOBS.c.unique_key),
            follows=null(),
        )
    )
