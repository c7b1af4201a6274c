"""Purge a queue: cancel its waiting jobs, in batches. Running jobs go on."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Update, bindparam, func, null, select, update

from celeriac.ledger.schema.columns import Instant, now
from celeriac.ledger.schema.lifecycle import WAITING, AttemptKind, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import may_enter


def purge(connection: Connection, queue: str, *, before: datetime, limit: int) -> int:
    """Cancel up to ``limit`` jobs that wait in ``queue``; return how many.

    A locked job is left out: it is being claimed or changed.

    Args:
        before: only jobs accepted until then, so that a purge ends although more jobs are enqueued.
    """
    parameters = {"of": queue, "before": before, "most": limit}
    return connection.execute(_purge(), parameters).rowcount


@lru_cache
def _purge() -> Update:
    chosen = (
        select(JOBS.c.id)
        .where(
            JOBS.c.queue == bindparam("of"),
            may_enter(JobState.CANCELLED, of=WAITING),
            JOBS.c.queued <= bindparam("before", type_=Instant),
        )
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
    values: dict[str, Any] = {
        "state": JobState.CANCELLED,
        "finished": now(),
        "dispatched": func.coalesce(JOBS.c.dispatched, now()),
        "held": null(),
        "failure_info": f"{AttemptKind.CANCELLED}: its queue was purged",
    }
    return update(JOBS).where(JOBS.c.id.in_(chosen)).values(values)
