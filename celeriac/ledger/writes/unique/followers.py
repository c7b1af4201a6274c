"""Rows that follow other jobs: those whose job has ended are let go, and take its result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, func, literal, select, update

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.distinct_values import distinct_values
from celeriac.ledger.schema.lifecycle import WAITING, AttemptKind, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_in, may_enter
from celeriac.ledger.schema.unique_rows import follows_unfinished, waits_to_follow

#: Sorts before every id.
FIRST = UUID(int=0)


def followed(connection: Connection, *, beyond: UUID, most: int) -> list[UUID]:
    """The ids after ``beyond`` that unfinished rows follow, each found by one search of an index."""
    walk = distinct_values(JOBS.c.follows, follows_unfinished(), beyond=beyond, most=most)
    return [value for value in connection.execute(select(walk.c.value)).scalars() if value is not None]


def let_go(connection: Connection, jobs: Sequence[UUID]) -> int:
    """Let the rows go that wait for those of ``jobs`` which have ended, or are gone; return how many.

    They become due, and take the result when they run. Of a cancelled job they are cancelled as well.
    """
    if not jobs:
        return 0
    dialect = connection.dialect.name
    parameters = batch.id_parameters(dialect, jobs)
    cancelled = connection.execute(_cancel(dialect), parameters).rowcount
    return cancelled + connection.execute(_let_go(dialect), parameters).rowcount


def count(connection: Connection, *, most: int) -> int:
    """How many unfinished rows follow a job, counted up to ``most``."""
    some = select(JOBS.c.id).where(follows_unfinished()).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def of_job(connection: Connection, job: UUID, *, most: int) -> list[Any]:
    """Some of the unfinished rows that follow ``job``, in the order of their ids."""
    c = JOBS.c
    found = select(c.id, c.job_type, c.state, c.queued).where(c.follows == job, c.id != job)
    return list(connection.execute(found.where(follows_unfinished()).order_by(c.id).limit(most)))


def undecided(connection: Connection, jobs: Sequence[UUID]) -> list[UUID]:
    """Those of ``jobs`` of which nobody has decided yet whether they may have their key."""
    if not jobs:
        return []
    dialect = connection.dialect.name
    return list(connection.execute(_undecided(dialect), batch.id_parameters(dialect, jobs)).scalars())


def _waiting_for(dialect: str, *ended: Any, gone: bool) -> Any:
    """The rows that wait for those jobs, in the order of their ids, locked."""
    job = JOBS.alias("followed")
    joined = JOBS.join(job, job.c.id == JOBS.c.follows, isouter=gone)
    over = job.c.finished.is_not(None)
    return (
        select(JOBS.c.id)
        .select_from(joined)
        .where(batch.id_in(dialect, JOBS.c.follows), waits_to_follow())
        .where(job.c.id.is_(None) | over if gone else over, *(condition(job.c) for condition in ended))
        .order_by(JOBS.c.id)
        .with_for_update(of=JOBS, skip_locked=True)
    )


@lru_cache
def _let_go(dialect: str) -> Update:
    return (
        update(JOBS).where(JOBS.c.id.in_(_waiting_for(dialect, gone=True))).values(next_attempt_after=now())
    )


@lru_cache
def _cancel(dialect: str) -> Update:
    ended = _waiting_for(dialect, lambda c: is_in(JobState.CANCELLED, c=c), gone=False)
    why = literal(f"{AttemptKind.CANCELLED}: so was the job that it follows")
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(ended), may_enter(JobState.CANCELLED, of=WAITING, by_id=True))
        .values(
            state=JobState.CANCELLED,
            finished=now(),
            dispatched=func.coalesce(JOBS.c.dispatched, now()),
            failure_info=why,
        )
    )


@lru_cache
def _undecided(dialect: str) -> Select[Any]:
    chosen = select(JOBS.c.id).where(batch.id_in(dialect, JOBS.c.follows), waits_to_follow())
    return chosen.where(JOBS.c.id == JOBS.c.follows)
