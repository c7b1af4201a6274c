"""Cancel jobs for ever: a waiting job at once, a running job by a request to stop."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Update,
    bindparam,
    case,
    func,
    literal,
    null,
    select,
    update,
)

from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.lifecycle import TERMINAL, AttemptKind, JobState
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting, may_enter


class Mode(StrEnum):
    """How a running job is asked to stop."""

    SOFT = "soft"  # a flag that the task reads
    HARD = "hard"  # its child is terminated; burst and prefork


class Answer(StrEnum):
    """What became of a request to cancel a job.

    >>> Answer.REQUESTED
    <Answer.REQUESTED: 'requested'>
    """

    CANCELLED = "cancelled"  # it will not run
    REQUESTED = "requested"  # it is running and was asked to stop
    ALREADY_CANCELLED = "already cancelled"  # by an earlier request
    FINISHED = "finished"  # completed or failed before
    UNKNOWN = "unknown"  # no such job


def cancel(connection: Connection, ids: Sequence[UUID], *, mode: Mode = Mode.SOFT) -> dict[UUID, Answer]:
    """Cancel jobs; return what became of each. A soft request does not replace a hard one."""
    dialect = connection.dialect.name
    answers = dict.fromkeys(ids, Answer.UNKNOWN)
    left = list(answers)
    while left:
        for row in connection.execute(
            _cancel(dialect), batch.id_parameters(dialect, left) | {"mode": str(mode)}
        ):
            cancelled = row.state == JobState.CANCELLED
            answers[row.id] = Answer.CANCELLED if cancelled else Answer.REQUESTED
        others = [job for job in left if answers[job] is Answer.UNKNOWN]
        left = _not_ended(connection, others, answers) if others else []
    return answers


def _not_ended(connection: Connection, ids: Sequence[UUID], answers: dict[UUID, Answer]) -> list[UUID]:
    """Fill in the answers of jobs that had ended before the cancel; return the ids that wait now.

    It must read after the cancel, which may have waited for an outcome to be committed: an earlier read would
    see the job run.
    """
    waiting = []
    for row in connection.execute(
        _states(connection.dialect.name), batch.id_parameters(connection.dialect.name, ids)
    ):
        if row.state in TERMINAL:
            cancelled = row.state == JobState.CANCELLED
            answers[row.id] = Answer.ALREADY_CANCELLED if cancelled else Answer.FINISHED
        else:  # enqueued or replayed since
            waiting.append(row.id)
    return waiting


def cancel_fitting(
    connection: Connection, ids: Sequence[UUID], wanted: Filter, *, mode: Mode = Mode.SOFT
) -> int:
    """Cancel those of ``ids`` that are not terminal and still fit ``wanted``; return how many.

    Args:
        wanted: with instants in place of spans.
    """
    dialect = connection.dialect.name
    statement = _cancelling(batch.id_in(dialect, JOBS.c.id), *wanted.conditions())
    return len(connection.execute(statement, batch.id_parameters(dialect, ids) | {"mode": str(mode)}).all())


def is_requested(connection: Connection, job: UUID) -> bool:
    """Whether somebody asked that a running job stop."""
    asked = select(JOBS.c.cancel_requested).where(JOBS.c.id == job)
    return connection.execute(asked).scalar_one_or_none() is not None


@lru_cache
def _states(dialect: str) -> Select[Any]:
    return select(JOBS.c.id, JOBS.c.state).where(batch.id_in(dialect, JOBS.c.id))


@lru_cache
def _cancel(dialect: str) -> Update:
    return _cancelling(batch.id_in(dialect, JOBS.c.id))


def _cancelling(*which: ColumnElement[bool]) -> Update:
    guard = may_enter(JobState.CANCELLED, by_id=True)
    waits = is_waiting()
    mode = bindparam("mode", type_=JOBS.c.cancel_requested.type)
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(in_order(*which, guard)))
        .values(
            state=case((waits, literal(JobState.CANCELLED.value)), else_=JOBS.c.state),
            finished=case((waits, now())),
            dispatched=case((waits, func.coalesce(JOBS.c.dispatched, now())), else_=JOBS.c.dispatched),
            held=null(),  # of a job that waits; one that runs is not held
            cancel_requested=case(
                (waits, JOBS.c.cancel_requested), (JOBS.c.cancel_requested == "hard", "hard"), else_=mode
            ),
            failure_info=case((waits, f"{AttemptKind.CANCELLED}: on request"), else_=JOBS.c.failure_info),
        )
        .returning(JOBS.c.id, JOBS.c.state)
    )
