"""Attempts that ended, one row each, as the ledger has them now: what counts of them are made of.

An attempt is counted by how it ended:

- ``completed``, ``failed``, ``cancelled``: it ended its job, or the job ended while it waited. By the job's
  ``finished``.
- ``retried``: it was not successful, and its job went on. By the attempt's own ``finished``. The row of an
  attempt that ended its job is written after the job's, in the same transaction: it is not earlier than the
  job's ``finished``. All others are earlier, or their job has not ended.

So each job that ended counts once, and so does each earlier attempt. How long a cancelled job ran is not
known, since it may have ended while it waited for its next attempt: it counts as no time.

How long a job was due before its last attempt began is known when it has ended; of earlier attempts it
is not.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    union_all,
)

from celeriac.ledger.schema.columns import Instant, Seconds, place_among, seconds_between, span_start
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.operator_tables import RUNS, SPREAD_BOUNDS, WAITS
from celeriac.ledger.schema.state_conditions import is_in


class Ended(StrEnum):
    """How an attempt ended."""

    COMPLETED = JobState.COMPLETED
    RETRIED = "retried"
    FAILED = JobState.FAILED
    CANCELLED = JobState.CANCELLED


def ended_rows(seconds: int) -> tuple[Select[Any], ...]:
    """Queries of the attempts that ended at or after ``:first`` and before ``:end``, to be put together.

    Their columns: ``began``, the first moment of the span of so many ``seconds``; task, queue, outcome;
    ``ran``, the seconds that it took, and ``due``, those for which it was due before: null where not known.
    """
    return _jobs(seconds), _retried(seconds)


def ended_sums(seconds: int, *, spread: bool = True) -> Select[Any]:
    """How many of the rows there are by began, task, queue and outcome, how long they ran, and the longest.

    They are put together twice: a sum over all rows for each of so many columns would cost several times as
    much.

    Args:
        spread: with the columns ``WAITS`` and ``RUNS``.
    """
    c = union_all(*ended_rows(seconds)).subquery("each_ended").c
    keys = c.began, c.task, c.queue, c.outcome
    numbers = (
        func.count().label("attempts"),
        func.coalesce(func.sum(c.ran), 0.0).label("ran"),
        func.coalesce(func.max(c.ran), 0.0).label("longest"),
    )
    if not spread:
        return select(*keys, *numbers).group_by(*keys)
    places = _place(c.due).label("wait"), _place(c.ran).label("run")
    few = select(*keys, *places, *numbers).group_by(*keys, *places).subquery("alike").c
    keys = few.began, few.task, few.queue, few.outcome
    sums = (
        func.sum(few.attempts).label("attempts"),
        func.sum(few.ran).label("ran"),
        func.max(few.longest).label("longest"),
    )
    columns = [
        func.sum(case((place == number, few.attempts), else_=0)).label(name)
        for place, names in ((few.wait, WAITS), (few.run, RUNS))
        for number, name in enumerate(names)
    ]
    return select(*keys, *sums, *columns).group_by(*keys)


def _jobs(seconds: int) -> Select[Any]:
    has_run = and_(
        is_in(JobState.COMPLETED, JobState.FAILED),
        JOBS.c.unknown_since.is_(None),  # it waited for a worker that knows its task when it ended
        JOBS.c.finished >= JOBS.c.started,
    )
    ran = case((has_run, seconds_between(JOBS.c.started, JOBS.c.finished)))
    due = case((has_run, seconds_between(JOBS.c.next_attempt_after, JOBS.c.started)))
    return _rows(seconds, JOBS.c.finished, JOBS.c.state, ran, due)


def _retried(seconds: int) -> Select[Any]:
    goes_on = or_(JOBS.c.finished.is_(None), FAILURES.c.finished < JOBS.c.finished)
    has_run = FAILURES.c.finished >= FAILURES.c.started
    ran = case((has_run, seconds_between(FAILURES.c.started, FAILURES.c.finished)))
    return (
        _rows(seconds, FAILURES.c.finished, literal(str(Ended.RETRIED)), ran, cast(null(), Seconds))
        .join_from(FAILURES, JOBS, FAILURES.c.job_id == JOBS.c.id)
        .where(FAILURES.c.attempt > 0, goes_on)  # number 0 is a delivery that never ran
    )


def _rows(seconds: int, moment: Any, outcome: Any, ran: Any, due: Any) -> Select[Any]:
    first, end = (bindparam(name, type_=Instant) for name in ("first", "end"))
    return select(
        span_start(literal(seconds), moment).label("began"),
        JOBS.c.job_type.label("task"),
        JOBS.c.queue.label("queue"),
        outcome.label("outcome"),
        ran.label("ran"),
        due.label("due"),
    ).where(moment >= first, moment < end)


def _place(seconds: Any) -> Any:
    """How many of the bounds it has reached; null where it is not known."""
    return place_among(seconds, *map(literal_column, map(str, SPREAD_BOUNDS)))
