"""Which waiting rows are held because their queue or task is paused, as conditions and values of statements.

The table of pauses is asked in the statement that holds a row, so that a worker which has not heard yet that
something goes on again holds nothing of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, literal, null, or_, select

from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.operator_tables import PAUSES


class PauseKind(StrEnum):
    """What is paused."""

    QUEUE = "queue"
    TASK = "task"


def held_word(kind: PauseKind, name: str) -> str:
    """What the column ``held`` says of rows that wait for this.

    >>> held_word(PauseKind.QUEUE, "gpu.low")
    'queue:gpu.low'
    """
    return f"{kind}:{name}"


def parse_held(word: str) -> tuple[PauseKind, str] | None:
    """The queue or task that the column ``held`` names; None: something else holds the row.

    >>> parse_held("task:mail.send")
    (<PauseKind.TASK: 'task'>, 'mail.send')
    """
    kind, _, name = word.partition(":")
    return (PauseKind(kind), name) if kind in list(PauseKind) else None


def is_paused() -> ColumnElement[bool]:
    """Whether a row's queue or task is paused."""
    return or_(JOBS.c.queue.in_(_paused(PauseKind.QUEUE)), JOBS.c.job_type.in_(_paused(PauseKind.TASK)))


def is_to_hold() -> ColumnElement[bool]:
    """The same, without rows that have expired: their message is sent, and who draws it cancels them."""
    return and_(is_paused(), or_(JOBS.c.expires.is_(None), JOBS.c.expires > now()))


def word_of_row() -> ColumnElement[str | None]:
    """What the column ``held`` is to say: the queue, if both are paused."""
    of_queue = JOBS.c.queue.in_(_paused(PauseKind.QUEUE))
    of_task = JOBS.c.job_type.in_(_paused(PauseKind.TASK))
    return case(
        (of_queue, _word(PauseKind.QUEUE, JOBS.c.queue)),
        (of_task, _word(PauseKind.TASK, JOBS.c.job_type)),
        else_=cast(null(), String),
    )


def _paused(kind: PauseKind) -> Any:
    # Not correlated: PostgreSQL reads the table once in a statement, not once for each row.
    return select(PAUSES.c.name).where(PAUSES.c.kind == str(kind))


def _word(kind: PauseKind, name: ColumnElement[str]) -> ColumnElement[str]:
    return literal(held_word(kind, ""), String).concat(name)
