"""Health of the ledger: counts of jobs that should have moved by now, and facts about its server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, and_, func, or_, select, text

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.schema.columns import after, now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS, WORKERS
from celeriac.ledger.schema.state_conditions import is_dead_as_indexed, is_in, is_waiting

_waits = is_waiting()
_unsent = and_(JOBS.c.dispatched.is_(None), JOBS.c.held.is_(None), JOBS.c.line.is_(None))

#: Rows are counted up to here.
MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The database's server.

    Attributes:
        version: major and minor, and for SQLite the patch.
        connections: open connections of all clients; None for SQLite.
        most: connections that may be open, without those reserved for superusers; None for SQLite.
    """

    dialect: str
    version: tuple[int, ...]
    connections: int | None = None
    most: int | None = None


def server(connection: Connection) -> Server:
    dialect = connection.dialect.name
    if dialect == "sqlite":
        version = connection.execute(select(func.sqlite_version())).scalar_one()
        return Server(dialect=dialect, version=tuple(int(part) for part in version.split(".")))
    row = connection.execute(text(_POSTGRES)).one()
    return Server(
        dialect=dialect,
        version=divmod(row.version, 10_000),
        connections=row.connections,
        most=row.most - row.reserved,
    )


_POSTGRES = """
    SELECT current_setting('server_version_num')::int AS version,
           current_setting('max_connections')::int AS most,
           current_setting('superuser_reserved_connections')::int AS reserved,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections
"""


def unsent(connection: Connection, *, since: timedelta) -> int:
    """How many jobs have been due for longer than ``since`` without a message being sent."""
    late = JOBS.c.next_attempt_after <= _ago(since)
    return _count(connection, select(JOBS.c.id).where(_waits, _unsent, late))


def unclaimed(connection: Connection, *, since: timedelta) -> dict[str, int]:
    """How many due jobs nobody claimed for ``since`` after their message was sent; by queue."""
    moment = select(now()).scalar_subquery()
    sent = and_(_waits, JOBS.c.dispatched <= _ago(since), JOBS.c.next_attempt_after <= moment)
    chosen = select(JOBS.c.queue).where(sent).limit(MOST).subquery()
    counted = select(chosen.c.queue, func.count()).group_by(chosen.c.queue)
    return {row.queue: row[1] for row in connection.execute(counted)}


def oldest_due(connection: Connection) -> datetime | None:
    """Since when the longest due job has been due; of those that no pause and no limit holds."""
    moment = select(now()).scalar_subquery()
    in_line = and_(JOBS.c.line.is_not(None), JOBS.c.fair_key.is_(None), JOBS.c.dispatched.is_(None))
    held = or_(JOBS.c.held.is_not(None), in_line)
    due = and_(_waits, ~held, JOBS.c.next_attempt_after <= moment)
    query = select(func.min(JOBS.c.next_attempt_after)).where(due)
    found: datetime | None = connection.execute(query).scalar_one()
    return found


def orphans(connection: Connection, *, silence: timedelta) -> int:
    """How many running jobs have a worker that is silent for ``silence``, signed off, or unknown."""
    living = select(WORKERS.c.id).where(WORKERS.c.stopped.is_(None), WORKERS.c.heartbeat >= _ago(silence))
    held = and_(is_in(JobState.RUNNING), JOBS.c.worker_id.not_in(living))
    return _count(connection, select(JOBS.c.id).where(held))


def running(connection: Connection) -> int:
    """How many jobs are running."""
    return _count(connection, select(JOBS.c.id).where(JOBS.c.worker_id.is_not(None)))


def failed(connection: Connection, *, within: timedelta) -> int:
    """How many jobs failed within that span."""
    lately = and_(is_dead_as_indexed(), JOBS.c.finished >= clock(connection) - within)
    return _count(connection, select(JOBS.c.id).where(lately))


def _ago(span: timedelta) -> object:
    return select(after(-span.total_seconds())).scalar_subquery()


def _count(connection: Connection, query: Select[tuple[object]]) -> int:
    bounded = query.limit(MOST).subquery()
    return int(connection.execute(select(func.count()).select_from(bounded)).scalar_one())
