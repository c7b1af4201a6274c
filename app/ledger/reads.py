"""What the ledger says of jobs. Nothing here writes or locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, and_, func, or_, select

from app.ledger import batch
from app.ledger.lifecycle import JobState
from app.ledger.models import FAILURES, JOBS

_jobs = JOBS
_failures = FAILURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs are meant; what is None does not narrow."""

    state: JobState | None = None
    task: str | None = None
    queue: str | None = None
    user_id: str | None = None
    schedule: str | None = None
    since: datetime | None = None  # queued at or after
    until: datetime | None = None  # queued before

    def conditions(self) -> list[Any]:
        c = _jobs.c
        equal = {
            c.state: self.state,
            c.job_type: self.task,
            c.queue: self.queue,
            c.user_id: self.user_id,
            c.schedule: self.schedule,
        }
        found: list[Any] = [column == value for column, value in equal.items() if value is not None]
        if self.since is not None:
            found.append(c.queued >= self.since)
        if self.until is not None:
            found.append(c.queued < self.until)
        return found


@dataclass(frozen=True, slots=True)
class Ending:
    """How far a job is, for those who wait for its result."""

    id: UUID
    state: JobState
    job_type: str
    result: str | None
    failure_info: str | None
    finished: datetime | None
    worker_id: UUID | None


def find(connection: Connection, job: UUID) -> Row[Any] | None:
    """The row of a job with all its columns; None when there is none."""
    return connection.execute(select(_jobs).where(_jobs.c.id == job)).one_or_none()


def attempts(connection: Connection, jobs: Sequence[UUID]) -> list[Row[Any]]:
    """The unsuccessful attempts of ``jobs``, the earliest first."""
    dialect = connection.dialect.name
    return list(connection.execute(_attempts(dialect), batch.ids(dialect, jobs)))


def page(
    connection: Connection, wanted: Filter, *, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[Row[Any]]:
    """Jobs, newest first; at most ``limit``, and only those behind the key ``after`` (queued, id)."""
    statement = select(_jobs).where(*wanted.conditions())
    if after is not None:
        queued, job = after
        statement = statement.where(
            or_(_jobs.c.queued < queued, and_(_jobs.c.queued == queued, _jobs.c.id < job))
        )
    ordered = statement.order_by(_jobs.c.queued.desc(), _jobs.c.id.desc()).limit(limit)
    return list(connection.execute(ordered))


def endings(connection: Connection, jobs: Sequence[UUID]) -> dict[UUID, Ending]:
    """How far each of ``jobs`` is; those without a row are missing."""
    dialect = connection.dialect.name
    found = connection.execute(_endings(dialect), batch.ids(dialect, jobs))
    return {row.id: Ending(row.id, JobState(row.state), *row[2:]) for row in found}


def counts(connection: Connection, wanted: Filter) -> list[tuple[str, JobState, int]]:
    """How many jobs there are by queue and state."""
    grouped = (
        select(_jobs.c.queue, _jobs.c.state, func.count())
        .where(*wanted.conditions())
        .group_by(_jobs.c.queue, _jobs.c.state)
    )
    return [(queue, JobState(state), count) for queue, state, count in connection.execute(grouped)]


@lru_cache
def _attempts(dialect: str) -> Select[Any]:
    mine = batch.among(dialect, _failures.c.job_id)
    return select(_failures).where(mine).order_by(_failures.c.job_id, _failures.c.attempt)


@lru_cache
def _endings(dialect: str) -> Select[Any]:
    c = _jobs.c
    return select(c.id, c.state, c.job_type, c.result, c.failure_info, c.finished, c.worker_id).where(
        batch.among(dialect, c.id)
    )
