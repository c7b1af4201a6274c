"""Lost messages: clear the dispatch mark of rows whose message is gone, so that they are sent again.

The broker is only asked whether a queue is empty. A needless duplicate is harmless, because it is not
claimed. The messages of a backlog are not sent again, however long they wait: no message that was sent
later has been claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Connection,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Instant, Seconds, after, microseconds, now
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting

#: Rows of one sweep; the next one goes on.
_MOST = 1000

#: The wait before a further re-send doubles up to this many times.
_DOUBLINGS = 6

#: Messages of a job that are no re-sends, besides one for each attempt: the first, and one more when the job
#: was released or replaced itself.
_ORDINARY = 2


def clear_dispatch_marks(
    connection: Connection, queues: Mapping[str, datetime | None], *, grace: float
) -> int:
    """Clear the dispatch mark of rows whose message must be lost; return how many. One statement for all.

    Args:
        queues: in which to look. Each with a time: only messages sent before it, because a later one was
            claimed at least a grace ago. None: the queue is empty.
        grace: seconds since the message was sent, doubled with every re-send after the first.
    """
    dialect = connection.dialect.name
    rows = [{"of": queue, "before": _written(dialect, before)} for queue, before in queues.items()]
    parameters = batch.table_parameters(dialect, _QUEUES, rows, name="queues") | {"grace": -grace}
    return connection.execute(_clear_marks(dialect), parameters).rowcount


_QUEUES: dict[str, Any] = {"of": JOBS.c.queue.type, "before": Instant()}


def _written(dialect: str, before: datetime | None) -> str | int | None:
    if before is None:
        return None
    return before.isoformat() if dialect == "postgresql" else microseconds(before)


@lru_cache
def _clear_marks(dialect: str) -> Update:
    queues = batch.as_table(dialect, _QUEUES, name="queues")
    resent = JOBS.c.dispatch_count - JOBS.c.try_count - _ORDINARY
    doublings = case((resent < 0, 0), (resent > _DOUBLINGS, _DOUBLINGS), else_=resent)
    factor = literal(1).op("<<")(doublings)
    lost = (
        JOBS.c.queue == queues.c.of,
        is_waiting(),
        JOBS.c.dispatched.is_not(None),
        JOBS.c.next_attempt_after <= now(),
        JOBS.c.dispatched <= after(bindparam("grace", type_=Seconds) * factor),
        or_(queues.c.before.is_(None), JOBS.c.dispatched < queues.c.before),
    )
    if dialect != "postgresql":
        chosen = select(JOBS.c.id).select_from(queues).join(JOBS, and_(*lost)).order_by(JOBS.c.dispatched)
        return update(JOBS).where(JOBS.c.id.in_(chosen.limit(_MOST))).values(dispatched=null())
    # Queue by queue, each in the order of the index, so that no more is read than is taken.
    each = (
        select(JOBS.c.id)
        .where(
            *lost[:-1],
            JOBS.c.dispatched < func.coalesce(queues.c.before, literal_column("'infinity'::timestamptz")),
        )
        .order_by(JOBS.c.dispatched)
        .limit(_MOST)
        .with_for_update(skip_locked=True)
        .correlate(queues)
        .lateral("each")
    )
    ids = select(each.c.id).select_from(queues.join(each, true())).limit(_MOST)
    # An array, because PostgreSQL takes the batch for so long that it would read the whole table.
    return (
        update(JOBS).where(JOBS.c.id == func.any(func.array(ids.scalar_subquery()))).values(dispatched=null())
    )
