"""Time that passes at once, for tests of what waits. SQLite only: the clock of a test's own ledger."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import BigInteger, Connection, type_coerce, update

from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting

_MICROSECOND = timedelta(microseconds=1)


def travel(connection: Connection, span: timedelta) -> int:
    """Bring what waits nearer by ``span``; return how many jobs wait."""
    earlier = {
        column: type_coerce(column, BigInteger) - span // _MICROSECOND
        for column in (JOBS.c.queued, JOBS.c.next_attempt_after, JOBS.c.expires)
    }
    waiting = is_waiting() & (JOBS.c.next_attempt_after != PARKED)
    return connection.execute(update(JOBS).where(waiting).values(earlier)).rowcount
