"""The jobs that a schedule made: when, and how far they are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from celeriac.ledger.schema.columns import Instant
from celeriac.ledger.schema.models import JOBS

_FIRES = (
    select(JOBS.c.queued, JOBS.c.state)
    .where(JOBS.c.schedule == bindparam("schedule"), JOBS.c.queued >= bindparam("since", type_=Instant))
    .order_by(JOBS.c.queued.desc())
    .limit(bindparam("most"))
)


def fires(connection: Connection, schedule: str, *, since: datetime, most: int) -> list[Row[Any]]:
    """``queued`` and ``state`` of the newest jobs of ``schedule``, at most ``most`` of them."""
    given = {"schedule": schedule, "since": since, "most": most}
    return list(connection.execute(_FIRES, given))
