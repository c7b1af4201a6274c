"""Queries for jobs: by id, by filter, and in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Connection,
    Dialect,
    Interval,
    Row,
    Select,
    TypeDecorator,
    case,
    func,
    select,
    type_coerce,
)
from sqlalchemy.types import TypeEngine

from celeriac.ledger.reads.job_filter import Filter, settled
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.state_conditions import is_in, is_unfinished


@dataclass(frozen=True, slots=True)
class Ending:
    """State and result of a job, for a caller that waits for its result."""

    id: UUID
    state: JobState
    job_type: str
    result: str | None
    failure_info: str | None
    finished: datetime | None
    worker_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A group of jobs in numbers. Waits and runs are those of the last attempts.

    A wait lasts from acceptance to the start of the last attempt, so a retried job's wait includes its
    earlier attempts. Percentiles are by nearest rank; None: no job has a value.

    >>> result = welcome.delay(7)
    >>> dead = kit.drain()
    >>> line = summarise(datetime.now(UTC).date()).whole
    >>> line.jobs, line.retried
    (1, 0)
    """

    task: str | None  # None: of every task
    state: JobState | None  # None: in any state
    jobs: int  # how many
    retried: int  # of them, those that took more than one attempt
    wait_p50: timedelta | None  # half of them waited no longer
    wait_p99: timedelta | None  # 99 % of them
    run_p50: timedelta | None  # half of the last attempts took no longer
    run_p99: timedelta | None  # 99 % of them
    wait_p95: timedelta | None = None  # 95 % of them
    run_p95: timedelta | None = None  # 95 % of them


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLine:
    """Unsuccessful attempts of one task that failed in the same way.

    >>> result = welcome.delay(13)
    >>> dead = kit.drain()
    >>> line = summarise(datetime.now(UTC).date()).failures[0]
    >>> line.task, line.kind, line.exception_type, line.attempts
    ('mail.welcome', 'error', 'ConnectionError', 1)
    """

    task: str  # its name
    kind: str  # as of an ``Attempt``
    exception_type: str | None  # None: no exception was raised
    frame: str | None  # the place that raised, as file:function
    attempts: int  # how many
    jobs: int  # how many different ones
    last: datetime  # when the latest of them ended
    example: str | None  # what one of the exceptions said, its first 300 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySummary:
    whole: Line
    lines: tuple[Line, ...]  # by task and state
    failures: tuple[FailureLine, ...]  # the most frequent first


#: Most kinds of failure that a summary lists.
FAILURE_LINES = 200


def find(connection: Connection, job: UUID) -> Row[Any] | None:
    """The row of a job with all its columns; None when there is none."""
    return connection.execute(select(JOBS).where(JOBS.c.id == job)).one_or_none()


def attempts(connection: Connection, jobs: Sequence[UUID]) -> list[Row[Any]]:
    """The unsuccessful attempts of ``jobs``, the earliest first."""
    dialect = connection.dialect.name
    return list(connection.execute(_attempts(dialect), batch.id_parameters(dialect, jobs)))


def unfinished(
    connection: Connection, wanted: Filter, *, limit: int, beyond: UUID | None = None
) -> list[UUID]:
    """Ids of jobs that are not terminal, in id order."""
    conditions = settled(connection, wanted).conditions()
    statement = select(JOBS.c.id).where(*conditions, is_unfinished())
    if beyond is not None:
        statement = statement.where(JOBS.c.id > beyond)
    return list(connection.execute(statement.order_by(JOBS.c.id).limit(limit)).scalars())


def dead(connection: Connection, wanted: Filter, *, limit: int, beyond: UUID | None = None) -> list[UUID]:
    """Ids of dead letters, in id order."""
    conditions = settled(connection, wanted).conditions()
    statement = select(JOBS.c.id).where(*conditions, is_in(JobState.FAILED))
    if beyond is not None:
        statement = statement.where(JOBS.c.id > beyond)
    return list(connection.execute(statement.order_by(JOBS.c.id).limit(limit)).scalars())


def newest(connection: Connection) -> datetime | None:
    """When the last job was accepted; None when there is none."""
    found: datetime | None = connection.execute(select(func.max(JOBS.c.queued))).scalar_one()
    return found


def endings(connection: Connection, jobs: Sequence[UUID]) -> dict[UUID, Ending]:
    """State and result of each of ``jobs``; jobs without a row are missing."""
    dialect = connection.dialect.name
    found = connection.execute(_endings(dialect), batch.id_parameters(dialect, jobs))
    return {row.id: Ending(row.id, JobState(row.state), *row[2:]) for row in found}


def counts(connection: Connection, wanted: Filter) -> list[tuple[str, JobState, int]]:
    """How many jobs there are by queue and state."""
    grouped = (
        select(JOBS.c.queue, JOBS.c.state, func.count())
        .where(*wanted.conditions())
        .group_by(JOBS.c.queue, JOBS.c.state)
    )
    return [(queue, JobState(state), count) for queue, state, count in connection.execute(grouped)]


def day_summary(
    connection: Connection, since: datetime, until: datetime, *, user_id: str | None = None
) -> DaySummary:
    """The jobs that were queued from ``since`` to before ``until``, in numbers.

    The database counts, so that the answer does not grow with the number of jobs. The three statements do not
    share a snapshot.
    """
    wanted = Filter(since=since, until=until, user_id=user_id).conditions()
    dialect = connection.dialect.name
    whole = connection.execute(_lines(dialect, wanted, ())).one()
    lines = connection.execute(_lines(dialect, wanted, (JOBS.c.job_type, JOBS.c.state)))
    failures = connection.execute(_failure_lines(wanted))
    return DaySummary(
        whole=_line(whole, task=None, state=None),
        lines=tuple(_line(row, task=row.job_type, state=JobState(row.state)) for row in lines),
        failures=tuple(FailureLine(**row._mapping) for row in failures),
    )


#: The columns by which jobs are put into lines, the finest first.
LINES_BY: tuple[tuple[Any, ...], ...] = ((JOBS.c.job_type, JOBS.c.state), (JOBS.c.job_type,), ())


def lines(connection: Connection, wanted: Filter, *, by: tuple[Any, ...]) -> list[Line]:
    """The jobs that fit, in numbers, by some of ``LINES_BY``; ``wanted`` is settled."""
    found = []
    for row in connection.execute(_lines(connection.dialect.name, wanted.conditions(), by)):
        task, state = getattr(row, "job_type", None), getattr(row, "state", None)
        found.append(_line(row, task=task, state=None if state is None else JobState(state)))
    return found


def _line(row: Row[Any], *, task: str | None, state: JobState | None) -> Line:
    return Line(
        task=task,
        state=state,
        jobs=row.jobs,
        retried=row.retried,
        wait_p50=row.wait_p50,
        wait_p99=row.wait_p99,
        run_p50=row.run_p50,
        run_p99=row.run_p99,
        wait_p95=row.wait_p95,
        run_p95=row.run_p95,
    )


class _Span(TypeDecorator[timedelta]):
    """The difference of two instants: an interval on PostgreSQL, integer microseconds on SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Interval() if dialect.name == "postgresql" else BigInteger())

    def process_result_value(self, value: Any, dialect: Dialect) -> timedelta | None:
        return timedelta(microseconds=value) if isinstance(value, int) else value


_PERCENTS = (50, 95, 99)


def _lines(dialect: str, wanted: Sequence[Any], keys: tuple[Any, ...]) -> Select[Any]:
    """One row for each combination of ``keys``, with counts and percentiles by nearest rank."""
    spans = {
        "wait": type_coerce(JOBS.c.started - JOBS.c.queued, _Span()),
        "run": type_coerce(
            case((JOBS.c.finished >= JOBS.c.started, JOBS.c.finished - JOBS.c.started)), _Span()
        ),
    }
    again = JOBS.c.try_count > 1
    if dialect != "postgresql":
        return _ranked_lines(wanted, keys, spans, again)
    percentiles = [
        func.percentile_disc(percent / 100).within_group(span).label(f"{name}_p{percent}")
        for name, span in spans.items()
        for percent in _PERCENTS
    ]
    counts = func.count().label("jobs"), func.count(case((again, 1))).label("retried")
    return select(*keys, *counts, *percentiles).where(*wanted).group_by(*keys).order_by(*keys)


def _ranked_lines(
    wanted: Sequence[Any], keys: tuple[Any, ...], spans: Mapping[str, Any], again: Any
) -> Select[Any]:
    """The same for SQLite, which has no percentiles."""
    ranked = select(*keys, again.label("again")).where(*wanted)
    for name, span in spans.items():
        position = func.row_number().over(partition_by=keys or None, order_by=span.nulls_last())
        known = func.count(span).over(partition_by=keys or None)
        ranked = ranked.add_columns(
            span.label(name), position.label(f"{name}_position"), known.label(f"{name}_known")
        )
    jobs = ranked.subquery()
    grouped = [jobs.c[key.name] for key in keys]
    return (
        select(
            *grouped,
            func.count().label("jobs"),
            func.count(case((jobs.c.again, 1))).label("retried"),
            *(_percentile(jobs.c, name, percent) for name in spans for percent in _PERCENTS),
        )
        .select_from(jobs)
        .group_by(*grouped)
        .order_by(*grouped)
    )


def _percentile(columns: Any, name: str, percent: int) -> Any:
    reached = columns[f"{name}_position"] * 100 >= columns[f"{name}_known"] * percent
    return func.min(case((reached, columns[name]))).label(f"{name}_p{percent}")


def _failure_lines(wanted: Sequence[Any]) -> Select[Any]:
    way = (JOBS.c.job_type, FAILURES.c.kind, FAILURES.c.exception_type, FAILURES.c.frame)
    return (
        select(
            JOBS.c.job_type.label("task"),
            *way[1:],
            func.count().label("attempts"),
            func.count(FAILURES.c.job_id.distinct()).label("jobs"),
            func.max(FAILURES.c.finished).label("last"),
            func.max(func.substr(FAILURES.c.exception, 1, 300)).label("example"),
        )
        .join_from(FAILURES, JOBS, FAILURES.c.job_id == JOBS.c.id)
        .where(*wanted)
        .group_by(*way)
        .order_by(func.count().desc(), *way)
        .limit(FAILURE_LINES)
    )


@lru_cache
def _attempts(dialect: str) -> Select[Any]:
    mine = batch.id_in(dialect, FAILURES.c.job_id)
    return select(FAILURES).where(mine).order_by(FAILURES.c.job_id, FAILURES.c.attempt)


@lru_cache
def _endings(dialect: str) -> Select[Any]:
    return select(
        JOBS.c.id,
        JOBS.c.state,
        JOBS.c.job_type,
        JOBS.c.result,
        JOBS.c.failure_info,
        JOBS.c.finished,
        JOBS.c.worker_id,
    ).where(batch.id_in(dialect, JOBS.c.id))
