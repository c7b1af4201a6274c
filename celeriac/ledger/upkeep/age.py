"""Age: move jobs that have waited for long into the list of the next level."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Connection, String, Update, bindparam, null, select, update

from celeriac.ledger.schema.columns import Seconds, after, now
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting


def age(connection: Connection, queue: str, *, older: float, to: str, priority: int, limit: int) -> int:
    """Move up to ``limit`` jobs whose messages were sent to ``queue`` so many seconds ago; return how many.

    The dispatcher sends each anew, a limit admits it anew. The copy in the old list loses its claim, or wins
    it: the job runs once.
    """
    values = {"of": queue, "older": -older, "to": to, "priority": priority, "most": limit}
    return connection.execute(_age(), values).rowcount


@lru_cache
def _age() -> Update:
    c = JOBS.c
    old = select(after(bindparam("older", type_=Seconds))).scalar_subquery()
    chosen = (
        select(c.id)
        .where(is_waiting(), c.queue == bindparam("of", type_=String), c.dispatched <= old)
        .where(c.next_attempt_after <= select(now()).scalar_subquery())
        .order_by(c.dispatched)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
    return (
        update(JOBS)
        .where(c.id.in_(chosen))
        .values(
            queue=bindparam("to", type_=c.queue.type),
            priority=bindparam("priority", type_=c.priority.type),
            dispatched=null(),
            dispatch_count=c.dispatch_count + 1,
        )
    )
