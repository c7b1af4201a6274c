"""Changes of jobs that wait: due at once, or in another list. Their state stays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, Update, bindparam, literal, null, select, update

from celeriac.ledger.reads.job_filter import Filter, settled
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import FOLLOWING, Instant, now
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting


def waiting(connection: Connection, wanted: Filter, *, limit: int, beyond: UUID | None = None) -> list[UUID]:
    """Ids of jobs that wait, in id order."""
    conditions = settled(connection, wanted).conditions()
    statement = select(JOBS.c.id).where(*conditions, is_waiting())
    if beyond is not None:
        statement = statement.where(JOBS.c.id > beyond)
    return list(connection.execute(statement.order_by(JOBS.c.id).limit(limit)).scalars())


def run_now(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Make waiting jobs due at once; return those that were not due before.

    A job that waits for other jobs, not for a time, stays as it is.
    """
    dialect = connection.dialect.name
    found = connection.execute(_run_now(dialect), batch.id_parameters(dialect, ids))
    return set(found.scalars())


def places(connection: Connection, ids: Sequence[UUID]) -> list[Row[Any]]:
    """Id, queue and priority of those that wait, locked in id order until the transaction ends."""
    dialect = connection.dialect.name
    return list(connection.execute(_places(dialect), batch.id_parameters(dialect, ids)))


def move(connection: Connection, ids: Sequence[UUID], *, queue: str, priority: int) -> set[UUID]:
    """Give waiting jobs another list and priority; return those that were moved.

    The dispatcher sends each anew. The count makes the message that may be in the old list an old copy, from
    which a worker does not run the job.
    """
    dialect = connection.dialect.name
    values = {"to_queue": queue, "to_priority": priority}
    return set(connection.execute(_move(dialect), batch.id_parameters(dialect, ids) | values).scalars())


@lru_cache
def _run_now(dialect: str) -> Update:
    later = in_order(
        batch.id_in(dialect, JOBS.c.id),
        is_waiting(by_id=True),
        JOBS.c.next_attempt_after > now(),
        JOBS.c.next_attempt_after < literal(FOLLOWING, Instant),
    )
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(later))
        .values(next_attempt_after=now(), dispatched=null())
        .returning(JOBS.c.id)
    )


@lru_cache
def _places(dialect: str) -> Select[Any]:
    chosen = in_order(batch.id_in(dialect, JOBS.c.id), is_waiting(by_id=True))
    return chosen.add_columns(JOBS.c.queue, JOBS.c.priority)


@lru_cache
def _move(dialect: str) -> Update:
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(in_order(batch.id_in(dialect, JOBS.c.id), is_waiting(by_id=True))))
        .values(
            queue=bindparam("to_queue", type_=JOBS.c.queue.type),
            priority=bindparam("to_priority", type_=JOBS.c.priority.type),
            dispatched=null(),
            dispatch_count=JOBS.c.dispatch_count + 1,
            held=null(),
        )
        .returning(JOBS.c.id)
    )
