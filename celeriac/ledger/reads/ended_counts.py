"""Read how many attempts ended, over time: from the counts, and the newest minutes from the ledger itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, Double, Select, cast, func, literal, select, union_all

from celeriac.ledger.reads.ended_rows import Ended, ended_sums
from celeriac.ledger.schema.columns import Instant, span_start
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.operator_tables import ENDED_COUNTS

_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)

_KEYS, _NUMBERS = ("began", "task", "queue", "outcome"), ("attempts", "ran", "longest")

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


@dataclass(frozen=True, slots=True)
class Spread:
    """How many of the attempts that ended within one step took how long."""

    began: datetime  # the first moment of the step
    counts: tuple[int, ...]  # below the first of ``SPREAD_BOUNDS``, from it on, and so on


def spreads(connection: Connection, wanted: Window, *, names: Sequence[str], clock: datetime) -> list[Spread]:
    """How long jobs waited or attempts ran, by step, up to now; a step in which nothing ended is missing.

    Args:
        names: the columns: ``WAITS`` or ``RUNS``.
    """
    running = clock.replace(second=0, microsecond=0)
    parameters = {"first": max(running - _LIVE * _MINUTE, wanted.since), "end": clock + _HOUR}
    rows = union_all(
        *_live_and_counted(wanted, parameters["first"], ended_sums(wanted.step).subquery("now"), names)
    ).subquery("ended")
    sums = [cast(func.coalesce(func.sum(rows.c[name]), 0), BigInteger) for name in names]
    asked = _of(rows, wanted, select(rows.c.began, *sums)).group_by(rows.c.began).order_by(rows.c.began)
    return [Spread(began, tuple(counts)) for began, *counts in connection.execute(asked, parameters)]


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
    """The numbers by step and outcome, and by task or queue where that is asked for."""
    now = ended_sums(wanted.step, spread=False).subquery("now")
    rows = union_all(*_live_and_counted(wanted, live, now, _NUMBERS)).subquery("ended")
    key = rows.c[wanted.by] if wanted.by else literal("")
    kept = select(
        rows.c.began,
        key.label("key"),
        rows.c.outcome,
        cast(func.sum(rows.c.attempts), BigInteger).label("n"),
        cast(func.sum(rows.c.ran), Double).label("ran"),
        cast(func.max(rows.c.longest), Double).label("longest"),
    )
    kept = _of(rows, wanted, kept).where(rows.c.attempts > 0)
    named = [rows.c[wanted.by]] if wanted.by else []
    return kept.group_by(rows.c.began, *named, rows.c.outcome).order_by(rows.c.began, *named)


def _of(rows: Any, wanted: Window, chosen: Select[Any]) -> Select[Any]:
    """``chosen`` of ``rows`` of the task and the queues that are wanted."""
    if wanted.task is not None:
        chosen = chosen.where(rows.c.task == wanted.task)
    return chosen.where(rows.c.queue.in_(wanted.queues)) if wanted.queues else chosen


def _live_and_counted(wanted: Window, live: datetime, now: Any, names: Sequence[str]) -> list[Select[Any]]:
    """What the ledger has since ``live``; the minutes since the last full hour; and the hours."""
    c, hour = now.c, live.replace(minute=0)
    parts = [select(*(c[name] for name in (*_KEYS, *names)))]
    if wanted.hours:
        parts.append(_counted(wanted, 3600, wanted.since, hour, names))
    first = max(hour, wanted.since) if wanted.hours else wanted.since
    return [*parts, _counted(wanted, 60, first, live, names)]


def _counted(wanted: Window, span: int, first: datetime, end: datetime, names: Sequence[str]) -> Select[Any]:
    c = ENDED_COUNTS.c
    return select(
        span_start(literal(wanted.step), c.began).label("began"),
        *(c[name] for name in (*_KEYS[1:], *names)),
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
