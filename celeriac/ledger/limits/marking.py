"""Mark jobs as dispatched, which gives them their permits, and make their messages of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Update, case, null, update
from sqlalchemy import cast as sql_cast

from celeriac.ledger.connection.one_trip import Step
from celeriac.ledger.limits.in_use import IN_LINE
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Instant, microseconds, now
from celeriac.ledger.schema.holding import is_to_hold, word_of_row
from celeriac.ledger.schema.locking import in_order, is_locked_by
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.claims import MESSAGE_COLUMNS, Message


@dataclass(frozen=True, slots=True)
class TimedMessage(Message):
    """The message of a job that has a rate: its worker keeps it until its start.

    Attributes:
        start: when it is to start by the database's clock, in microseconds since 1970.
    """

    start: int = 0


def mark_step(dialect: str, jobs: Sequence[UUID]) -> Step:
    """The statement that marks those of ``jobs`` which still wait; ``messages_of`` reads its rows."""
    return _mark_all(dialect), batch.id_parameters(dialect, jobs)


def messages_of(
    rows: Sequence[Sequence[Any]], jobs: Sequence[UUID], starts: Mapping[UUID, datetime]
) -> list[Message]:
    """The messages of what was marked, in the order of ``jobs``.

    Args:
        starts: of jobs that have a rate.
    """
    sent: dict[UUID, Message] = {}
    for held, *values in rows:
        if held is not None:
            continue  # it is paused elsewhere
        job = values[0]
        start = starts.get(job)
        sent[job] = TimedMessage(*[*values, microseconds(start)]) if start else Message(*values)
    return [message for job in jobs if (message := sent.get(job)) is not None]


@lru_cache
def _mark_all(dialect: str) -> Update:
    waiting = in_order(batch.id_in(dialect, JOBS.c.id), IN_LINE, skip=True)
    hold = is_to_hold()
    return (
        update(JOBS)
        .where(is_locked_by(dialect, waiting))
        .values(
            dispatched=case((hold, sql_cast(null(), Instant)), else_=now()),
            dispatch_count=JOBS.c.dispatch_count + case((hold, 0), else_=1),
            held=case((hold, word_of_row())),
        )
        .returning(JOBS.c.held, *MESSAGE_COLUMNS)
    )
