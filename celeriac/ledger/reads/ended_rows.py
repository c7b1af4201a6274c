"""Attempts that ended, one row each, as the ledger has them now: what counts of them are made of.

An attempt is counted by how it ended:

- ``completed``, ``failed``, ``cancelled``: it ended its job, or the job ended while it waited. By the job's
  ``finished``.
- ``retried``: it was not successful, and its job went on. By the attempt's own ``finished``. The row of an
  attempt that ended its job is written after the job's, in the same transaction: it is not earlier than the
  job's ``finished``. All others are earlier, or their job has not ended.

So each job that ended counts once, and so does each earlier attempt. How long a cancelled job ran is not
known, since it may have ended while it waited for its next attempt: it counts as no time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Select, and_, bindparam, case, literal, or_, select

from celeriac.ledger.schema.columns import Instant, seconds_between, span_start
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
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
    ``attempts``, which is 1; ``ran`` and ``longest``, both the seconds that it took.
    """
    return _jobs(seconds), _retried(seconds)


def _jobs(seconds: int) -> Select[Any]:
    has_run = and_(
        is_in(JobState.COMPLETED, JobState.FAILED),
        JOBS.c.unknown_since.is_(None),  # it waited for a worker that knows its task when it ended
        JOBS.c.finished >= JOBS.c.started,
    )
    return _rows(seconds, JOBS.c.finished, JOBS.c.state, case((has_run, _took(JOBS)), else_=0.0))


def _retried(seconds: int) -> Select[Any]:
    goes_on = or_(JOBS.c.finished.is_(None), FAILURES.c.finished < JOBS.c.finished)
    took = case((FAILURES.c.finished >= FAILURES.c.started, _took(FAILURES)), else_=0.0)
    return (
        _rows(seconds, FAILURES.c.finished, literal(str(Ended.RETRIED)), took)
        .join_from(FAILURES, JOBS, FAILURES.c.job_id == JOBS.c.id)
        .where(FAILURES.c.attempt > 0, goes_on)  # number 0 is a delivery that never ran
    )


def _rows(seconds: int, moment: Any, outcome: Any, took: Any) -> Select[Any]:
    first, end = (bindparam(name, type_=Instant) for name in ("first", "end"))
    return select(
        span_start(literal(seconds), moment).label("began"),
        JOBS.c.job_type.label("task"),
        JOBS.c.queue.label("queue"),
        outcome.label("outcome"),
        literal(1).label("attempts"),
        took.label("ran"),
        took.label("longest"),
    ).where(moment >= first, moment < end)


def _took(table: Any) -> Any:
    return seconds_between(table.c.started, table.c.finished)
