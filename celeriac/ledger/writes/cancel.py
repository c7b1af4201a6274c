"""Cancel: for ever. A waiting job is cancelled at once, a running one is asked to stop."""

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
    select,
    update,
)

from celeriac.ledger.reads.job_rows import Filter
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.lifecycle import TERMINAL, WAITING, AttemptKind, JobState
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS


class Mode(StrEnum):
    """How a running job is asked to stop."""

    SOFT = "soft"  # a flag that the task reads
    HARD = "hard"  # its child is terminated; prefork only


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
    """Cancel jobs; say of each what became of it. A hard request is never softened."""
    dialect = connection.dialect.name
    answers = dict.fromkeys(ids, Answer.UNKNOWN)
    left = list(answers)
    while left:
        for row in connection.execute(_cancel(dialect), batch.ids(dialect, left) | {"mode": str(mode)}):
            cancelled = row.state == JobState.CANCELLED
            answers[row.id] = Answer.CANCELLED if cancelled else Answer.REQUESTED
        others = [job for job in left if answers[job] is Answer.UNKNOWN]
        left = _not_ended(connection, others, answers) if others else []
    return answers


def _not_ended(connection: Connection, ids: Sequence[UUID], answers: dict[UUID, Answer]) -> list[UUID]:
    """Answer for those that had ended when the cancel came to them; return those that wait by now.

    To be asked after the cancel, which may have waited for an outcome: an earlier look saw the job run.
    """
    waiting = []
    for row in connection.execute(_states(connection.dialect.name), batch.ids(connection.dialect.name, ids)):
        if row.state in TERMINAL:
            cancelled = row.state == JobState.CANCELLED
            answers[row.id] = Answer.ALREADY_CANCELLED if cancelled else Answer.FINISHED
        else:  # enqueued or replayed since
            waiting.append(row.id)
    return waiting


def cancel_fitting(
    connection: Connection, ids: Sequence[UUID], wanted: Filter, *, mode: Mode = Mode.SOFT
) -> int:
    """Cancel those of ``ids`` that are not terminal and fit ``wanted`` still; return how many.

    Args:
        wanted: ``settled``.
    """
    dialect = connection.dialect.name
    open_ones = JOBS.c.state.not_in(sorted(TERMINAL))
    statement = _cancelling(batch.among(dialect, JOBS.c.id), open_ones, *wanted.conditions())
    return len(connection.execute(statement, batch.ids(dialect, ids) | {"mode": str(mode)}).all())


def is_requested(connection: Connection, job: UUID) -> bool:
    """Whether somebody asked that a running job stop."""
    asked = select(JOBS.c.cancel_requested).where(JOBS.c.id == job)
    return connection.execute(asked).scalar_one_or_none() is not None


@lru_cache
def _states(dialect: str) -> Select[Any]:
    return select(JOBS.c.id, JOBS.c.state).where(batch.among(dialect, JOBS.c.id))


@lru_cache
def _cancel(dialect: str) -> Update:
    return _cancelling(batch.among(dialect, JOBS.c.id), JOBS.c.state.not_in(sorted(TERMINAL)))


def _cancelling(*which: ColumnElement[bool]) -> Update:
    c = JOBS.c
    waits = c.state.in_(sorted(WAITING))
    mode = bindparam("mode", type_=c.cancel_requested.type)
    return (
        update(JOBS)
        .where(c.id.in_(in_order(*which)))
        .values(
            state=case((waits, literal(JobState.CANCELLED.value)), else_=c.state),
            finished=case((waits, now())),
            dispatched=case((waits, func.coalesce(c.dispatched, now())), else_=c.dispatched),
            cancel_requested=case(
                (waits, c.cancel_requested), (c.cancel_requested == "hard", "hard"), else_=mode
            ),
            failure_info=case((waits, f"{AttemptKind.CANCELLED}: on request"), else_=c.failure_info),
        )
        .returning(c.id, c.state)
    )
