"""Parked rows: jobs that wait for something other than time, and what to do when it never comes.

The body of a chord waits for its members, whose join lives in Redis; a job that replaced itself
by several waits for the last of them to send it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from celeriac.broker.wire import CHORD, new_tag
from celeriac.ledger.schema.columns import PARKED, Seconds, after, now
from celeriac.ledger.schema.lifecycle import TERMINAL, WAITING, AttemptKind, JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.upkeep.dispatch import unsent_priorities


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked row and what its message is made of."""

    id: UUID
    root_id: UUID | None
    payload: bytes
    content_type: str
    headers: dict[str, Any]
    old: bool  # whether it has waited for longer than any producer takes


@dataclass(frozen=True, slots=True)
class Member:
    """A job that a parked one waits for."""

    id: UUID
    state: JobState
    result: str | None
    headers: dict[str, Any]
    settled: bool  # terminal, and for long enough that its successors must have been sent


def parked(connection: Connection, *, limit: int, old: float) -> list[Parked]:
    """Parked rows; ``old`` is how many seconds make one old."""
    return [Parked(*row) for row in connection.execute(_parked(), {"most": limit, "old": -old})]


def members(connection: Connection, group: UUID, *, but: UUID, grace: float) -> list[Member]:
    """The jobs of a group, but the parked one."""
    rows = connection.execute(_of_group(), {"of": group, "but": but, "grace": -grace})
    return [Member(row.id, JobState(row.state), *row[2:]) for row in rows]


def unfinished_of_root(connection: Connection, root: UUID, *, but: UUID, grace: float) -> int:
    """How many other jobs of a workflow are not terminal, or only just."""
    return int(connection.execute(_of_root(), {"of": root, "but": but, "grace": -grace}).scalar_one())


def fire(connection: Connection, job: UUID, *, payload: bytes, headers: Mapping[str, Any]) -> bool:
    """Let a parked job run, with ``payload``; False when somebody was first.

    Args:
        headers: those that it has. It is a chord's body no more: a replay runs it with the same results.
    """
    values = {"job": job, "to_payload": payload, "to_tag": new_tag()}
    values["to_headers"] = {name: value for name, value in headers.items() if name != CHORD}
    return bool(connection.execute(_fire(), values).rowcount)


def fail_parked(connection: Connection, ids: Sequence[UUID], *, reason: str) -> set[UUID]:
    """Fail parked jobs that wait in vain; return those that did."""
    failed = set()
    for job in ids:
        if connection.execute(
            _fail(), {"job": job, "reason": f"{AttemptKind.ERROR}: ChordError: {reason}"}
        ).rowcount:
            connection.execute(_note(connection.dialect.name), {"job_id": job, "exception": reason})
            failed.add(job)
    return failed


def is_waited_for(dialect: str) -> ColumnElement[bool]:
    """Whether a row is of the group whose results the body of a chord still waits for."""
    c = JOBS.alias("body").c
    group = c.headers[(CHORD, "group")].as_string()
    # In the words of the index that leads to them; a CTE would take the count of a DELETE away on SQLite.
    waits = c.state.in_([literal_column(f"'{state}'") for state in sorted(WAITING)])
    awaited = select(group if dialect == "postgresql" else func.replace(group, "-", "")).where(
        waits, _is_parked(c), group.is_not(None)
    )
    # As text: what a header says need not be a UUID, and the server would refuse to read it.
    return and_(JOBS.c.group_id.is_not(None), cast(JOBS.c.group_id, Text).in_(awaited))


def _is_parked(c: Any = JOBS.c) -> Any:
    return and_(c.state == JobState.PENDING, c.next_attempt_after == PARKED, c.dispatched.is_(None))


def _settled() -> Any:
    return and_(
        JOBS.c.state.in_(sorted(TERMINAL)), JOBS.c.finished < after(bindparam("grace", type_=Seconds))
    )


@lru_cache
def _parked() -> Select[Any]:
    c = JOBS.c
    old = case((c.queued < after(bindparam("old", type_=Seconds)), 1), else_=0)
    columns = (c.id, c.root_id, c.payload, c.content_type, c.headers, old)
    level = unsent_priorities()  # or every delayed job would be looked at
    return (
        select(*columns)
        .join(level, level.c.priority == c.priority)
        .where(_is_parked())
        .limit(bindparam("most"))
    )


@lru_cache
def _of_group() -> Select[Any]:
    c = JOBS.c
    settled = case((_settled(), 1), else_=0)
    mine = c.group_id == bindparam("of", type_=c.group_id.type)
    others = c.id != bindparam("but", type_=c.id.type)
    return select(c.id, c.state, c.result, c.headers, settled).where(mine, others)


@lru_cache
def _of_root() -> Select[Any]:
    c = JOBS.c
    mine = c.root_id == bindparam("of", type_=c.root_id.type)
    others = c.id != bindparam("but", type_=c.id.type)
    return select(func.count()).where(mine, others, ~_settled())


@lru_cache
def _fire() -> Update:
    c = JOBS.c
    return (
        update(JOBS)
        .where(c.id == bindparam("job", type_=c.id.type), _is_parked())
        .values(
            payload=bindparam("to_payload", type_=c.payload.type),
            headers=bindparam("to_headers", type_=c.headers.type),
            message_tag=bindparam("to_tag", type_=c.message_tag.type),
            next_attempt_after=now(),
        )
    )


@lru_cache
def _fail() -> Update:
    c = JOBS.c
    return (
        update(JOBS)
        .where(c.id == bindparam("job", type_=c.id.type), _is_parked())
        .values(
            state=JobState.FAILED,
            finished=now(),
            dispatched=now(),
            failure_info=bindparam("reason", type_=c.failure_info.type),
        )
    )


@lru_cache
def _note(dialect: str) -> Insert:
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return (
        insert_into(FAILURES)
        .values(
            job_id=bindparam("job_id", type_=FAILURES.c.job_id.type),
            attempt=0,
            finished=now(),
            kind=AttemptKind.ERROR,
            exception_type="celery.exceptions.ChordError",
            exception=bindparam("exception", type_=FAILURES.c.exception.type),
        )
        .on_conflict_do_nothing(index_elements=["job_id", "attempt"])
    )
