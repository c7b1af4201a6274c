"""Claim jobs for one attempt each; release them again, uncounted, when they were not started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    update,
)

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Seconds, after, now, unindexed
from celeriac.ledger.schema.lifecycle import WAITING, AttemptKind, JobState
from celeriac.ledger.schema.locking import found_for, in_order
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.state_conditions import may_enter


class Claimed(NamedTuple):
    """A job that was won, and the number of the attempt (1 for the first).

    Attempts are numbered through the job's whole life. A replay gives new tries, which count from
    ``tries_before``.
    """

    id: UUID
    attempt: int
    max_tries: int
    tries_before: int
    dispatch_count: int
    queue: str
    dispatched: datetime
    failed_before: bool  # whether an attempt of it was not successful
    waited: timedelta  # since its message was sent
    expires_in: timedelta | None = None  # counted from the claim
    redelivered: bool = False  # whether the last attempt rejected its message
    message_tag: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What a row's message is made of."""

    id: UUID
    job_type: str
    queue: str
    priority: int
    payload: bytes
    content_type: str
    content_encoding: str
    headers: dict[str, Any]
    dispatch_count: int
    message_tag: int | None = None


#: The columns of a row that its message is made of, in the order of the fields.
MESSAGE_COLUMNS = tuple(JOBS.c[field.name] for field in fields(Message))


def claim(connection: Connection, ids: Sequence[UUID], *, worker: UUID) -> dict[UUID, Claimed]:
    """Take the due jobs among ``ids`` for ``worker``; return each one won with the number of its attempt.

    A job that is missing from the answer is held, done, cancelled, expired, not yet due, locked
    by another transaction or unknown: it must not run. ``ids`` may repeat.
    """
    dialect = connection.dialect.name
    return claimed_by_id(
        connection.execute(claim_statement(dialect), batch.id_parameters(dialect, ids) | {"worker": worker})
    )


def claimed_by_id(rows: Iterable[Sequence[Any]]) -> dict[UUID, Claimed]:
    """The rows that ``claim_statement`` returned, by the jobs' ids."""
    return {row[0]: claimed_of(*row) for row in rows}


def claimed_of(
    job: UUID,
    attempt: int,
    max_tries: int,
    tries_before: int,
    dispatch_count: int,
    queue: str,
    dispatched: datetime,
    last_failure: str | None,
    expires: datetime | None,
    started: datetime,
    message_tag: int | None,
) -> Claimed:
    """The job that a row of ``claim_statement`` tells of, column by column."""
    return Claimed(
        job,
        attempt,
        max_tries,
        tries_before,
        dispatch_count,
        queue,
        dispatched.astimezone(UTC),
        last_failure is not None,
        started - dispatched,
        None if expires is None else expires - started,
        last_failure == AttemptKind.REJECTED,
        message_tag,
    )


def locked(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of ``ids`` that could be claimed. If a claim did not win them, others had locked their rows."""
    dialect = connection.dialect.name
    found = connection.execute(_claimable(dialect), batch.id_parameters(dialect, ids))
    return {row.id for row in found}


def release(
    connection: Connection, held: Sequence[tuple[UUID, int]], *, worker: UUID, delay: float = 0.0
) -> set[UUID]:
    """Give back the attempts ``(id, attempt)`` that ``worker`` claimed and did not start, uncounted.

    One that was asked to be cancelled is cancelled instead.

    Args:
        delay: seconds before they may be claimed again.

    Returns:
        The ids that were given back; the others were not this attempt of this worker any more, or are
        locked by another transaction.
    """
    dialect = connection.dialect.name
    rows = [{"id": job, "attempt": attempt} for job, attempt in held]
    parameters = batch.table_parameters(dialect, _HELD, rows) | {"worker": worker, "delay": delay}
    return {row.id for row in connection.execute(_release(dialect), parameters)}


def messages(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Message]:
    """What the messages of the rows ``ids`` are made of now."""
    dialect = connection.dialect.name
    return {
        row.id: Message(*row)
        for row in connection.execute(_messages(dialect), batch.id_parameters(dialect, ids))
    }


def tasks(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """The tasks of the rows ``ids``."""
    dialect = connection.dialect.name
    query = select(JOBS.c.id, JOBS.c.job_type).where(batch.id_in(dialect, JOBS.c.id))
    return {row.id: row.job_type for row in connection.execute(query, batch.id_parameters(dialect, ids))}


def lost_repeatedly(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of ``ids`` whose child or worker died more than once: the job may be the cause."""
    dialect = connection.dialect.name
    return {row.job_id for row in connection.execute(_lost(dialect), batch.id_parameters(dialect, ids))}


_HELD: dict[str, Any] = {"id": JOBS.c.id.type, "attempt": JOBS.c.try_count.type}


@lru_cache
def claim_statement(dialect: str) -> Update:
    """The statement of ``claim``, with the parameters ``ids`` and ``worker``."""
    # In id order, so that two workers with overlapping batches cannot deadlock.
    due = and_(may_enter(JobState.RUNNING, by_id=True), *_is_due(dialect))
    chosen = select(JOBS.c.id).where(due).order_by(JOBS.c.id).with_for_update(skip_locked=True)
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(chosen))
        .values(
            state=JobState.RUNNING,
            worker_id=bindparam("worker", type_=JOBS.c.worker_id.type),
            last_worker_id=bindparam("worker", type_=JOBS.c.worker_id.type),
            started=now(),
            try_count=JOBS.c.try_count + 1,
            dispatched=func.coalesce(JOBS.c.dispatched, now()),
            held=null(),
            unknown_since=null(),
        )
        .returning(
            JOBS.c.id,
            JOBS.c.try_count,
            JOBS.c.max_tries,
            JOBS.c.tries_before,
            JOBS.c.dispatch_count,
            JOBS.c.queue,
            JOBS.c.dispatched,
            _last_failure(),
            JOBS.c.expires,
            JOBS.c.started,
            JOBS.c.message_tag,
        )
    )


def _is_due(dialect: str) -> tuple[ColumnElement[bool], ...]:
    return (
        batch.id_in(dialect, JOBS.c.id),
        # A job that was due when its message was sent stays due, even if the database's clock was set back.
        or_(JOBS.c.next_attempt_after <= now(), JOBS.c.next_attempt_after <= JOBS.c.dispatched),
        or_(JOBS.c.expires.is_(None), JOBS.c.expires > now()),
        JOBS.c.try_count < JOBS.c.max_tries,
        # A job of a limit has its permits while it is dispatched: an old copy of a message has none.
        or_(JOBS.c.line.is_(None), JOBS.c.dispatched.is_not(None)),
    )


def _last_failure() -> Any:
    """The beginning of the last failure: as many characters as "rejected" has, which a claim looks for."""
    start: Any = literal_column("1")
    length: Any = literal_column(str(len(AttemptKind.REJECTED)))
    return func.substr(JOBS.c.failure_info, start, length, type_=String()).label("last_failure")


@lru_cache
def _release(dialect: str) -> Update:
    given = batch.as_table(dialect, _HELD)
    cancelled = JOBS.c.cancel_requested.is_not(None)
    mine = and_(
        JOBS.c.id == given.c.id,
        JOBS.c.try_count == given.c.attempt,
        may_enter(JobState.PENDING, JobState.CANCELLED, by_id=True),
        unindexed(JOBS.c.worker_id) == bindparam("worker", type_=JOBS.c.worker_id.type),
    )
    held = found_for(dialect, given, mine, name="held")
    return (
        update(JOBS)
        .where(JOBS.c.id == held.c.id)
        .values(
            state=case((cancelled, literal(JobState.CANCELLED.value)), else_=literal(JobState.PENDING.value)),
            finished=case((cancelled, now())),
            dispatched=case((cancelled, JOBS.c.dispatched)),
            try_count=JOBS.c.try_count - 1,
            worker_id=null(),
            started=null(),
            next_attempt_after=after(bindparam("delay", type_=Seconds)),
        )
        .returning(JOBS.c.id)
    )


@lru_cache
def _messages(dialect: str) -> Select[Any]:
    return select(*MESSAGE_COLUMNS).where(batch.id_in(dialect, JOBS.c.id))


@lru_cache
def _claimable(dialect: str) -> Select[Any]:
    return select(JOBS.c.id).where(may_enter(JobState.RUNNING, by_id=True), *_is_due(dialect))


@lru_cache
def _lost(dialect: str) -> Select[Any]:
    lost = FAILURES.c.kind == AttemptKind.LOST
    mine = batch.id_in(dialect, FAILURES.c.job_id)
    return select(FAILURES.c.job_id).where(mine, lost).group_by(FAILURES.c.job_id).having(func.count() > 1)


def release_uncertain(connection: Connection, ids: Sequence[UUID], *, worker: UUID) -> None:
    """Release jobs that ``worker`` may have claimed in a transaction whose answer was lost."""
    dialect = connection.dialect.name
    rows = connection.execute(
        _running_attempts(dialect), batch.id_parameters(dialect, ids) | {"worker": worker}
    ).all()
    if rows:
        release(connection, [(row.id, row.try_count) for row in rows], worker=worker)


def expire(connection: Connection, ids: Sequence[UUID]) -> None:
    """Cancel those of ``ids`` that wait and have expired."""
    dialect = connection.dialect.name
    connection.execute(_expire(dialect), batch.id_parameters(dialect, ids))


@lru_cache
def _running_attempts(dialect: str) -> Select[Any]:
    mine = unindexed(JOBS.c.worker_id) == bindparam("worker", type_=JOBS.c.worker_id.type)
    return select(JOBS.c.id, JOBS.c.try_count).where(batch.id_in(dialect, JOBS.c.id), mine)


@lru_cache
def _expire(dialect: str) -> Update:
    over = (
        batch.id_in(dialect, JOBS.c.id),
        may_enter(JobState.CANCELLED, of=WAITING, by_id=True),
        JOBS.c.expires <= now(),
    )
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(in_order(*over, skip=True)))
        .values(
            state=JobState.CANCELLED,
            finished=now(),
            dispatched=func.coalesce(JOBS.c.dispatched, now()),
            held=null(),
            failure_info="cancelled: expired",
        )
    )
