"""Rows whose ids are enqueued again: read them, and renew those that were given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, bindparam, case, null, select, update

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.lifecycle import GIVEN_UP, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import may_enter
from celeriac.ledger.writes.new_jobs import (
    IN_LINE,
    OF_KEYS,
    NewJob,
    columns,
    message_columns,
    more_values,
    parameters,
)
from celeriac.ledger.writes.replay import ENDLESS


@dataclass(frozen=True, slots=True)
class Existing:
    """The columns of a row that matter to a call with the same id."""

    id: UUID
    job_type: str
    state: JobState
    parked: bool  # whether it waits for a message of its id
    sent: bool  # whether its message was sent, or is about to be
    parent_id: UUID | None
    message_tag: int | None
    payload: bytes
    content_type: str
    headers: dict[str, Any]


def existing(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Existing]:
    """The rows of ``ids``; ids without a row are missing."""
    dialect = connection.dialect.name
    return {
        row.id: _existing(row)
        for row in connection.execute(_find(dialect), batch.id_parameters(dialect, ids))
    }


def _existing(row: Any) -> Existing:
    state = JobState(row.state)
    return Existing(
        row.id,
        row.job_type,
        state,
        state is JobState.PENDING and row.next_attempt_after == PARKED,
        row.dispatched is not None,
        row.parent_id,
        row.message_tag,
        bytes(row.payload),
        row.content_type,
        row.headers,
    )


def renew(connection: Connection, job: NewJob) -> bool:
    """Set a failed or cancelled row back to pending with the message and the options of ``job``.

    It gets new tries and keeps its history, as after a replay. The dispatcher sends it when it is due.
    Returns False when the row is neither failed nor cancelled.
    """
    if job.unique is not None:  # whether it may have its key again is to be seen
        job = job.undecided()
    more = {f"new_{name}": value for name, value in more_values(job).items()}
    values = parameters(job.unsent()) | more | {"job": job.id}
    return bool(connection.execute(_renew(), values).rowcount)


@lru_cache
def _find(dialect: str) -> Select[Any]:
    columns = (
        JOBS.c.next_attempt_after,
        JOBS.c.dispatched,
        JOBS.c.parent_id,
        JOBS.c.message_tag,
        JOBS.c.payload,
    )
    return select(
        JOBS.c.id, JOBS.c.job_type, JOBS.c.state, *columns, JOBS.c.content_type, JOBS.c.headers
    ).where(batch.id_in(dialect, JOBS.c.id))


@lru_cache
def _renew() -> Update:
    changed = message_columns() | columns((*IN_LINE, *OF_KEYS))
    tries = changed["max_tries"]
    for name in ("id", "idempotency_key", "queued", "dispatch_count"):
        del changed[name]
    return (
        update(JOBS)
        .where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type), may_enter(JobState.PENDING, of=GIVEN_UP))
        .values(
            changed
            | {
                "state": JobState.PENDING,
                "max_tries": case(
                    (tries > ENDLESS - JOBS.c.try_count, ENDLESS), else_=tries + JOBS.c.try_count
                ),
                "tries_before": JOBS.c.try_count,
                "finished": null(),
                "cancel_requested": null(),
                "unknown_since": null(),
                "turn": null(),
            }
        )
    )
