"""Dead letters for deliveries that cannot be understood, with their raw bytes; rows for foreign ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from sqlalchemy import Connection, Insert, Update, and_, bindparam, case, func, literal, null, update
from sqlalchemy.dialects import postgresql, sqlite

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Seconds, after, now, unindexed
from celeriac.ledger.schema.lifecycle import WAITING, AttemptKind, JobState
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import FAILURES, JOBS, BackgroundJob


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A delivery that no worker can run."""

    id: UUID
    queue: str
    task: str
    raw: bytes
    content_type: str
    reason: str


def bury(connection: Connection, deliveries: Sequence[Unreadable]) -> None:
    """Write each delivery as a failed job with its raw bytes; one whose row exists is left alone."""
    dialect = connection.dialect.name
    for delivery in deliveries:
        values = {
            "id": delivery.id,
            "job_type": delivery.task,
            "queue": delivery.queue,
            "payload": delivery.raw,
            "content_type": delivery.content_type,
            "failure_info": f"{AttemptKind.INVALID}: {delivery.reason}",
            "headers": {"id": str(delivery.id), "task": delivery.task},
        }
        made = connection.execution_options(preserve_rowcount=True).execute(_bury(dialect), values)
        if made.rowcount > 0:
            connection.execute(_note(dialect), {"job_id": delivery.id, "exception": delivery.reason})


def postpone(connection: Connection, ids: Sequence[UUID], *, delay: float, limit: float) -> None:
    """Put back waiting jobs whose task this worker does not know; another may.

    Args:
        delay: seconds before they are sent again.
        limit: seconds after which a job whose task nobody knew is failed.
    """
    dialect = connection.dialect.name
    parameters = batch.ids(dialect, ids) | {"delay": delay, "limit": -limit}
    for row in connection.execute(_postpone(dialect), parameters).all():
        if row.state == JobState.FAILED:
            connection.execute(
                _note(dialect), {"job_id": row.id, "exception": "its task is unknown to every worker"}
            )


@lru_cache
def _bury(dialect: str) -> Insert:
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = ("id", "job_type", "queue", "payload", "content_type", "failure_info", "headers")
    return (
        insert_into(BackgroundJob)
        .values(
            {name: bindparam(name, type_=JOBS.c[name].type) for name in given}
            | {
                "priority": 0,
                "content_encoding": "binary",
                "queued": now(),
                "next_attempt_after": now(),
                "dispatched": now(),
                "finished": now(),
                "max_tries": 1,
                "state": JobState.FAILED,
            }
        )
        .on_conflict_do_nothing(index_elements=["id"])
    )


@lru_cache
def _postpone(dialect: str) -> Update:
    c = JOBS.c
    too_long = and_(c.unknown_since.is_not(None), c.unknown_since <= after(bindparam("limit", type_=Seconds)))
    waiting = (
        batch.among(dialect, c.id),
        unindexed(c.state).in_(sorted(WAITING)),
        c.dispatched.is_not(None),
    )
    return (
        update(JOBS)
        .where(c.id.in_(in_order(*waiting, skip=True)))
        .values(
            unknown_since=func.coalesce(c.unknown_since, now()),
            state=case((too_long, literal(JobState.FAILED.value)), else_=c.state),
            finished=case((too_long, now())),
            next_attempt_after=after(bindparam("delay", type_=Seconds)),
            dispatched=case((too_long, c.dispatched), else_=null()),
            failure_info=literal(f"{AttemptKind.INVALID}: its task is unknown to the workers that saw it"),
        )
        .returning(c.id, c.state)
    )


@lru_cache
def _note(dialect: str) -> Insert:
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    told = bindparam("exception", type_=FAILURES.c.exception.type)
    return (
        insert_into(FAILURES)
        .values(
            job_id=bindparam("job_id", type_=FAILURES.c.job_id.type),
            attempt=0,
            finished=now(),
            kind=AttemptKind.INVALID,
            exception=told,
        )
        # Replayed and met again: one note says it.
        .on_conflict_do_update(
            index_elements=["job_id", "attempt"], set_={"finished": now(), "exception": told}
        )
    )
