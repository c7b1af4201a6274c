"""Read how many attempts ended, over time: from the counts, and the newest minutes from the ledger itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, Double, Select, cast, func, literal, select, union_all

from celeriac.ledger.reads.ended_rows import Ended, ended_rows
from celeriac.ledger.schema.columns import Instant, span_start
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.operator_tables import ENDED_COUNTS

_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)

#: Minutes that are read from the ledger itself, besides the running one: they may not be counted yet.
_LIVE = 1


@dataclass(frozen=True, slots=True)
class Sum:
    """The attempts that ended within one step, in one way."""

    began: datetime  # the first moment of the step
    key: str  # the task or the queue; empty where it is not asked for
    outcome: Ended
    attempts: int
    ran: float  # seconds, all together
    longest: float  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which attempts, and in steps of what length. ``since`` is the first moment of a step.

    Attributes:
        step: seconds, whole minutes.
        hours: whether it reaches further back than minutes are kept.
        by: also by ``task`` or ``queue``.
    """

    since: datetime
    step: int
    hours: bool = False
    task: str | None = None
    queues: Sequence[str] = ()
    by: str | None = None


def sums(connection: Connection, wanted: Window, *, clock: datetime) -> list[Sum]:
    """What ended within each step, up to now; a step in which nothing ended is missing."""
    running = clock.replace(second=0, microsecond=0)
    parameters = {"first": max(running - _LIVE * _MINUTE, wanted.since), "end": clock + _HOUR}
    found = connection.execute(_sums(wanted, parameters["first"]), parameters)
    return [Sum(row.began, row.key, Ended(row.outcome), row.n, row.ran, row.longest) for row in found]


def largest(connection: Connection, wanted: Window, *, by: str, most: int) -> list[str]:
    """The tasks or queues of which the most attempts ended, the largest first, as far as it is counted."""
    span = 3600 if wanted.hours else 60
    c = ENDED_COUNTS.c
    query = (
        select(c[by])
        .where(c.span == span, c.began >= wanted.since, c[by] != "", c.attempts > 0)
        .group_by(c[by])
        .order_by(func.sum(c.attempts).desc(), c[by])
        .limit(most)
    )
    return list(connection.execute(query).scalars())


def _sums(wanted: Window, live: datetime) -> Select[Any]:
    """The hours, then the minutes since the last full one, then what the ledger has since ``live``."""
    parts = [*ended_rows(wanted.step)]
    hour = live.replace(minute=0)
    if wanted.hours:
        parts.append(_counted(wanted, 3600, wanted.since, hour))
    parts.append(_counted(wanted, 60, max(hour, wanted.since) if wanted.hours else wanted.since, live))
    rows = union_all(*parts).subquery("ended")
    key = rows.c[wanted.by] if wanted.by else literal("")
    kept = select(
        rows.c.began,
        key.label("key"),
        rows.c.outcome,
        cast(func.sum(rows.c.attempts), BigInteger).label("n"),
        cast(func.sum(rows.c.ran), Double).label("ran"),
        cast(func.max(rows.c.longest), Double).label("longest"),
    ).where(rows.c.attempts > 0)
    if wanted.task is not None:
        kept = kept.where(rows.c.task == wanted.task)
    if wanted.queues:
        kept = kept.where(rows.c.queue.in_(wanted.queues))
    named = [rows.c[wanted.by]] if wanted.by else []
    return kept.group_by(rows.c.began, *named, rows.c.outcome).order_by(rows.c.began, *named)


def _counted(wanted: Window, span: int, first: datetime, end: datetime) -> Select[Any]:
    c = ENDED_COUNTS.c
    return select(
        span_start(literal(wanted.step), c.began).label("began"),
        *(c[name] for name in ("task", "queue", "outcome", "attempts", "ran", "longest")),
    ).where(c.span == span, c.began >= literal(first, Instant), c.began < literal(end, Instant))


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Attempts that failed in one way within one step."""

    began: datetime
    task: str
    exception_type: str | None
    frame: str | None
    attempts: int


def failures(connection: Connection, *, since: datetime, step: int, most: int) -> list[FailureCount]:
    """Unsuccessful attempts by step and cause, at most ``most`` lines."""
    began = span_start(literal(step), FAILURES.c.finished).label("began")
    cause = JOBS.c.job_type.label("task"), FAILURES.c.exception_type, FAILURES.c.frame
    rows = (
        select(began, *cause)
        .join_from(FAILURES, JOBS, FAILURES.c.job_id == JOBS.c.id)
        .where(FAILURES.c.finished >= since)
        .subquery()
    )
    keys, count = list(rows.c), func.count().label("attempts")
    query = select(*keys, count).group_by(*keys).order_by(count.desc()).limit(most)
    return [FailureCount(**row._mapping) for row in connection.execute(query)]
