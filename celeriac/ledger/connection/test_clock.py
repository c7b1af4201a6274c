"""Let time pass at once, for tests of delayed jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import TIMESTAMP, BigInteger, Connection, Interval, literal, type_coerce, update

from celeriac.ledger.schema.columns import FOLLOWING
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting

_MICROSECOND = timedelta(microseconds=1)


def travel(connection: Connection, span: timedelta) -> int:
    """Make waiting jobs due earlier by ``span``; return how many jobs wait."""
    sqlite = connection.dialect.name == "sqlite"
    moments = (JOBS.c.queued, JOBS.c.next_attempt_after, JOBS.c.expires)
    earlier: dict[Any, Any] = {
        column: type_coerce(column, BigInteger) - span // _MICROSECOND
        if sqlite
        else type_coerce(column, TIMESTAMP(timezone=True)) - literal(span, Interval())
        for column in moments
    }
    waiting = is_waiting() & (JOBS.c.next_attempt_after < FOLLOWING)
    return connection.execute(update(JOBS).where(waiting).values(earlier)).rowcount
