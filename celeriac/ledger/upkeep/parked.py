"""Parked rows: jobs that wait for other jobs, and what is done when these have ended without releasing them.

The body of a chord waits for its members; Redis counts them. A job that replaced itself by several waits for
the last of them to send it again.
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
    LargeBinary,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Integer

from celeriac.headers import CHORD, new_tag
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import PARKED, Seconds, after, insert_of, now
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.models import FAILURES, JOBS, LOST
from celeriac.ledger.schema.state_conditions import is_in, is_waiting_as_indexed, may_enter

#: Sorts before every id.
FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked row, without its message's body."""

    id: UUID
    root_id: UUID | None
    headers: dict[str, Any]
    old: bool  # whether it has waited for longer than any producer takes


@dataclass(frozen=True, slots=True)
class Body:
    """The message of a parked row."""

    id: UUID
    payload: bytes
    content_type: str
    headers: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a group in numbers. The database counts them: there may be a million."""

    count: int
    completed: int
    with_result: int  # completed, and the result is known
    characters: int  # of their results together


def parked(connection: Connection, *, beyond: UUID, limit: int, old: float) -> list[Parked]:
    """Parked rows by id, after the id ``beyond``; a row is old after ``old`` seconds."""
    parameters = {"beyond": beyond, "most": limit, "old": -old}
    return [Parked(*row) for row in connection.execute(_parked(), parameters)]


def body(connection: Connection, job: UUID) -> Body | None:
    """The message of a parked row; None when it is not parked any more."""
    row = connection.execute(_body(), {"job": job}).first()
    return None if row is None else Body(*row)


def with_open_members(connection: Connection, groups: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    """The parked jobs whose group has unfinished members; ``groups`` are pairs of job and group.

    One search of an index for each, however many members there are.
    """
    return _waiting(connection, _open_members(connection.dialect.name), groups)


def with_open_jobs(connection: Connection, roots: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    """The parked jobs whose workflow has other unfinished jobs; ``roots`` are pairs of job and root."""
    return _waiting(connection, _open_jobs(connection.dialect.name), roots)


def members(connection: Connection, group: UUID, *, but: UUID) -> Members:
    """The jobs of a group in numbers, without the parked one."""
    return Members(*connection.execute(_count(), {"of": group, "but": but}).one())


def not_completed(connection: Connection, group: UUID, *, but: UUID) -> tuple[UUID, JobState] | None:
    """A member that is not completed, and its state."""
    row = connection.execute(_not_completed(), {"of": group, "but": but}).first()
    return None if row is None else (row.id, JobState(row.state))


def without_result(connection: Connection, group: UUID, *, but: UUID) -> UUID | None:
    """A member whose result is not known."""
    found: UUID | None = connection.execute(_without_result(), {"of": group, "but": but}).scalar()
    return found


def results(connection: Connection, group: UUID, *, but: UUID) -> str:
    """The results of a group in the order of its members: JSON values with commas between them."""
    asked = _results(connection.dialect.name)
    return str(connection.execute(select(asked), {"of": group, "but": but}).scalar() or "")


def fire(connection: Connection, job: UUID, *, payload: bytes, headers: Mapping[str, Any]) -> bool:
    """Let a parked job run, with ``payload``; False when another keeper was first.

    Args:
        headers: the row's. The chord's header is dropped, so that a replay runs it with the same results.
    """
    return bool(connection.execute(_fire(), {"job": job, "to_payload": payload} | _given(headers)).rowcount)


def fire_with_results(
    connection: Connection,
    job: UUID,
    *,
    headers: Mapping[str, Any],
    group: UUID,
    before: str,
    behind: str,
) -> bool:
    """As ``fire``, with the results of ``group`` between two texts. The results do not leave the database."""
    parameters = {"job": job, "of": group, "but": job, "before": before, "behind": behind} | _given(headers)
    return bool(connection.execute(_fire_with_results(connection.dialect.name), parameters).rowcount)


def fail_parked(connection: Connection, ids: Sequence[UUID], *, reason: str) -> set[UUID]:
    """Fail parked jobs that can never run; return those that were parked still."""
    failed = set()
    for job in ids:
        if connection.execute(
            _fail(), {"job": job, "reason": f"{AttemptKind.ERROR}: ChordError: {reason}"}
        ).rowcount:
            connection.execute(_note(connection.dialect.name), {"job_id": job, "exception": reason})
            failed.add(job)
    return failed


class group_index(FunctionElement[int]):
    """The place of a member in its group, read from its headers."""

    type = Integer()
    inherit_cache = True


@compiles(group_index, "postgresql")
def _group_index_postgresql(element: group_index, compiler: SQLCompiler, **kw: Any) -> str:
    headers = compiler.process(element.clauses, **kw)
    # PostgreSQL cannot read JSON with an escaped NUL or a lone surrogate anywhere in it.
    number = f"""CASE WHEN strpos(CAST({headers} AS TEXT), '\\u') = 0 THEN {headers} ->> 'group_index'
        ELSE substring(CAST({headers} AS TEXT) FROM '"group_index": ?([0-9]+)') END"""
    return f"CAST(substring({number} FROM '^[0-9]{{1,9}}$') AS INTEGER)"


@compiles(group_index, "sqlite")
def _group_index_sqlite(element: group_index, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(json_extract({compiler.process(element.clauses, **kw)}, '$.group_index') AS INTEGER)"


def _waiting(connection: Connection, asked: Select[Any], awaited: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    if not awaited:
        return set()
    rows = [{"id": job, "awaited": of} for job, of in awaited]
    parameters = batch.table_parameters(connection.dialect.name, _AWAITED, rows)
    return set(connection.execute(asked, parameters).scalars())


_AWAITED: dict[str, Any] = {"id": JOBS.c.id.type, "awaited": JOBS.c.group_id.type}


def is_waited_for(dialect: str) -> ColumnElement[bool]:
    """Whether the body of a chord still waits for the results of the row's group."""
    c = JOBS.alias("body").c
    group = c.headers[(CHORD, "group")].as_string()
    # Spelled as in the index. With a CTE, SQLite would not report how many rows a DELETE removed.
    waits = is_waiting_as_indexed(c)
    awaited = select(group if dialect == "postgresql" else func.replace(group, "-", "")).where(
        waits, _is_parked(c=c), group.is_not(None)
    )
    # Compared as text: a header need not hold a UUID, and the cast would fail.
    return and_(JOBS.c.group_id.is_not(None), cast(JOBS.c.group_id, Text).in_(awaited))


def _is_parked(state: Any = None, *, c: Any = JOBS.c) -> Any:
    """Whether a row is parked, and fulfils ``state`` in place of being pending."""
    pending = is_in(JobState.PENDING, c=c) if state is None else state
    return and_(pending, c.next_attempt_after == PARKED, c.dispatched.is_(None))


def _of_group() -> Any:
    mine = JOBS.c.group_id == bindparam("of", type_=JOBS.c.group_id.type)
    return and_(mine, JOBS.c.id != bindparam("but", type_=JOBS.c.id.type))


@lru_cache
def _parked() -> Select[Any]:
    old = case((JOBS.c.queued < after(bindparam("old", type_=Seconds)), 1), else_=0)
    # Spelled as in the index of due rows, so that both databases use it.
    waits = is_waiting_as_indexed(JOBS.c)
    beyond = JOBS.c.id > bindparam("beyond", type_=JOBS.c.id.type)
    chosen = select(JOBS.c.id, JOBS.c.root_id, JOBS.c.headers, old).where(waits, _is_parked(), beyond)
    return chosen.order_by(JOBS.c.id).limit(bindparam("most"))


@lru_cache
def _body() -> Select[Any]:
    mine = JOBS.c.id == bindparam("job", type_=JOBS.c.id.type)
    return select(JOBS.c.id, JOBS.c.payload, JOBS.c.content_type, JOBS.c.headers).where(mine, _is_parked())


@lru_cache
def _open_members(dialect: str) -> Select[Any]:
    row = batch.as_table(dialect, _AWAITED)
    mine = and_(JOBS.c.group_id == row.c.awaited, JOBS.c.finished.is_(None), JOBS.c.id != row.c.id)
    return select(row.c.id).where(_any(mine, row, JOBS.c.finished))


@lru_cache
def _open_jobs(dialect: str) -> Select[Any]:
    row = batch.as_table(dialect, _AWAITED)
    unfinished = and_(JOBS.c.finished.is_(None), JOBS.c.id != row.c.id)
    later = and_(JOBS.c.root_id == row.c.awaited, JOBS.c.root_id != JOBS.c.id, unfinished)
    root = and_(JOBS.c.id == row.c.awaited, unfinished)
    return select(row.c.id).where(or_(_any(later, row, JOBS.c.finished), _any(root, row)))


def _any(condition: Any, row: Any, *along: Any) -> Any:
    """Whether a job fulfils ``condition``.

    Args:
        along: the columns by which the index to be searched is sorted. Without them PostgreSQL would read the
            table, if it expects a large group.
    """
    one: Any = select(literal_column("1")).select_from(JOBS).where(condition).order_by(*along).limit(1)
    return one.correlate(row).scalar_subquery().is_not(None)


@lru_cache
def _count() -> Select[Any]:
    completed = is_in(JobState.COMPLETED)
    known = and_(completed, JOBS.c.result.is_not(None), JOBS.c.result != LOST)
    return select(
        func.count(),
        func.count().filter(completed),
        func.count().filter(known),
        func.coalesce(func.sum(func.length(JOBS.c.result)), 0),
    ).where(_of_group())


@lru_cache
def _not_completed() -> Select[Any]:
    return (
        select(JOBS.c.id, JOBS.c.state)
        .where(_of_group(), not_(is_in(JobState.COMPLETED)))
        .order_by(JOBS.c.id)
        .limit(1)
    )


@lru_cache
def _without_result() -> Select[Any]:
    lost = or_(JOBS.c.result.is_(None), JOBS.c.result == LOST)
    return select(JOBS.c.id).where(_of_group(), lost).order_by(JOBS.c.id).limit(1)


@lru_cache
def _results(dialect: str) -> Any:
    member = JOBS.alias("member")
    c = member.c
    mine = and_(
        c.group_id == bindparam("of", type_=c.group_id.type), c.id != bindparam("but", type_=c.id.type)
    )
    index, result = func.coalesce(group_index(c.headers), 0), func.coalesce(c.result, "null")
    if dialect == "postgresql":
        together = func.string_agg(result, aggregate_order_by(literal(", "), index, c.id))
        return select(together).where(mine).scalar_subquery()
    ordered = select(result.label("result")).where(mine).order_by(index, c.id).subquery("ordered")
    return select(func.group_concat(ordered.c.result, ", ")).scalar_subquery()


@lru_cache
def _fire_with_results(dialect: str) -> Update:
    before, behind = bindparam("before", type_=Text()), bindparam("behind", type_=Text())
    text = cast(before, Text()) + _results(dialect) + cast(behind, Text())
    payload = func.convert_to(text, "UTF8") if dialect == "postgresql" else cast(text, LargeBinary)
    return (
        update(JOBS)
        .where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type), _is_parked())
        .values({"payload": payload, **_new_message(), "next_attempt_after": now()})
    )


@lru_cache
def _fire() -> Update:
    return (
        update(JOBS)
        .where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type), _is_parked())
        .values(
            {
                "payload": bindparam("to_payload", type_=JOBS.c.payload.type),
                **_new_message(),
                "next_attempt_after": now(),
            }
        )
    )


def _new_message() -> dict[str, Any]:
    """Headers and tag of a new message of the row; ``_given`` has the parameters."""
    return {
        "headers": bindparam("to_headers", type_=JOBS.c.headers.type),
        "message_tag": bindparam("to_tag", type_=JOBS.c.message_tag.type),
    }


def _given(headers: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in headers.items() if name != CHORD}
    return {"to_headers": kept, "to_tag": new_tag()}


@lru_cache
def _fail() -> Update:
    guard = may_enter(JobState.FAILED, of={JobState.PENDING})
    return (
        update(JOBS)
        .where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type), _is_parked(guard))
        .values(
            state=JobState.FAILED,
            finished=now(),
            dispatched=now(),
            failure_info=bindparam("reason", type_=JOBS.c.failure_info.type),
        )
    )


@lru_cache
def _note(dialect: str) -> Insert:
    insert_into = insert_of(dialect)
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
