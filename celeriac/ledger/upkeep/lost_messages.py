"""Lost messages: clear the dispatch mark of rows whose message is gone, so that they are sent again.

The broker is only asked whether a queue is empty. A needless duplicate is harmless, because it is not
claimed. The messages of a backlog are not sent again, however long they wait: no message that was sent
later has been claimed.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, Update, bindparam, case, literal, null, select, update

from celeriac.ledger.schema.columns import Instant, Seconds, after, now
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting

#: Rows of one sweep; the next one goes on.
_MOST = 1000

#: The wait before a further re-send doubles up to this many times.
_DOUBLINGS = 6

#: Messages of a job that are no re-sends, besides one for each attempt: the first, and one more when the job
#: was released or replaced itself.
_ORDINARY = 2


def clear_dispatch_marks(connection: Connection, queue: str, *, grace: float, before: datetime | None) -> int:
    """Clear the dispatch mark of rows of ``queue`` whose message must be lost; return how many.

    Args:
        grace: seconds since the message was sent, doubled with every re-send after the first.
        before: only messages sent before this time: a later one was claimed at least a grace ago. None: the
            queue is empty.
    """
    parameters = {"of_queue": queue, "grace": -grace, "before": before}
    return connection.execute(_clear_marks(before is not None), parameters).rowcount


@lru_cache
def _clear_marks(bounded: bool) -> Update:
    resent = JOBS.c.dispatch_count - JOBS.c.try_count - _ORDINARY
    doublings = case((resent < 0, 0), (resent > _DOUBLINGS, _DOUBLINGS), else_=resent)
    factor = literal(1).op("<<")(doublings)
    late = JOBS.c.dispatched <= after(bindparam("grace", type_=Seconds) * factor)
    chosen = (
        select(JOBS.c.id)
        .where(
            JOBS.c.queue == bindparam("of_queue"),
            is_waiting(),
            JOBS.c.dispatched.is_not(None),
            JOBS.c.next_attempt_after <= now(),
            late,
            *([JOBS.c.dispatched < bindparam("before", type_=Instant)] if bounded else []),
        )
        .order_by(JOBS.c.dispatched)
        .limit(_MOST)
        .with_for_update(skip_locked=True)
    )
    return update(JOBS).where(JOBS.c.id.in_(chosen)).values(dispatched=null())
