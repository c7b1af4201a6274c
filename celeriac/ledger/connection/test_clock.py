"""Let time pass at once, for tests of delayed jobs. SQLite only: the private ledger of a test."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import BigInteger, Connection, type_coerce, update

from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting

_MICROSECOND = timedelta(microseconds=1)


def travel(connection: Connection, span: timedelta) -> int:
    """Make waiting jobs due earlier by ``span``; return how many jobs wait."""
    earlier = {
        column: type_coerce(column, BigInteger) - span // _MICROSECOND
        for column in (JOBS.c.queued, JOBS.c.next_attempt_after, JOBS.c.expires)
    }
    waiting = is_waiting() & (JOBS.c.next_attempt_after != PARKED)
    return connection.execute(update(JOBS).where(waiting).values(earlier)).rowcount
