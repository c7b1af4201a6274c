"""What the doctor asks about unique keys: who keeps them busy, and which tasks have one key for all calls."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, select, text

from celeriac.ledger.schema.models import JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWriter:
    """A transaction that has written jobs or keys and is open for long.

    Attributes:
        pid: of its backend, for ``pg_terminate_backend``.
        age: since it began.
        idle: whether it waits for its client, and not for the database.
        blocks: how many other sessions wait for it now.
    """

    pid: int
    application: str
    age: timedelta
    idle: bool
    blocks: int


def open_writers(connection: Connection, *, longer: float, most: int) -> list[OpenWriter]:
    """Transactions of this database that have written such rows and are open for more seconds, oldest first.

    Of other users only what this one may see. SQLite has one writer at a time, whose file lock is all.
    """
    if connection.dialect.name != "postgresql":
        return []
    found = connection.execute(text(_OPEN_WRITERS), {"longer": longer, "most": most})
    return [OpenWriter(**row._mapping) for row in found]


def with_key(connection: Connection, task: str, key: str, *, most: int) -> tuple[int, int]:
    """How many of the last jobs of ``task`` that have a unique key have ``key``, and how many there are."""
    row = connection.execute(_with_key(), {"task": task, "key": key, "most": most}).one()
    return int(row.same or 0), int(row.jobs)


#: Locks of writers on the two tables that have keys. A session that only reads has none of this mode.
_OPEN_WRITERS = """
    SELECT a.pid, coalesce(a.application_name, '') AS application,
           clock_timestamp() - a.xact_start AS age,
           a.state LIKE 'idle in transaction%' AS idle,
           (SELECT count(*) FROM pg_stat_activity w WHERE a.pid = ANY (pg_blocking_pids(w.pid))) AS blocks
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND a.xact_start < clock_timestamp() - CAST(:longer AS DOUBLE PRECISION) * INTERVAL '1 second'
      AND EXISTS (
          SELECT FROM pg_locks l
          WHERE l.pid = a.pid AND l.granted AND l.mode = 'RowExclusiveLock'
            AND l.relation IN (to_regclass('background_jobs'), to_regclass('background_unique_keys'))
      )
    ORDER BY a.xact_start LIMIT :most
"""


@lru_cache
def _with_key() -> Select[Any]:
    c = JOBS.c
    lately = (
        select(c.unique_key)
        .where(c.job_type == bindparam("task", type_=c.job_type.type), c.unique_key.is_not(None))
        .order_by(c.queued.desc())
        .limit(bindparam("most"))
        .subquery()
    )
    same = lately.c.unique_key == bindparam("key", type_=c.unique_key.type)
    counts: list[Any] = [func.sum(case((same, 1), else_=0)).label("same"), func.count().label("jobs")]
    return select(*counts).select_from(lately)
