"""When jobs of a rate were started, by the ledger; and what must hold of that."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from sqlalchemy import select

from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.models import JOBS


def starts(database: Database, task: str) -> list[float]:
    """When each attempt was claimed, in seconds."""
    mine = select(JOBS.c.started).where(JOBS.c.job_type == task, JOBS.c.started.is_not(None))
    with database.reading() as connection:
        return sorted(moment.timestamp() for moment in connection.execute(mine).scalars())


def most_within(moments: Sequence[float], seconds: float) -> int:
    """How many there are in any span of so many seconds, at most.

    >>> most_within([0.0, 0.5, 1.0, 1.2], 1.0)
    3
    """
    return max(
        (bisect_left(moments, first + seconds) - place for place, first in enumerate(moments)), default=0
    )
