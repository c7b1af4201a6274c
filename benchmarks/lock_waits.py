"""How often transactions wait for each other, as PostgreSQL sees it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from benchmarks.looks import looks_at
from benchmarks.trial_servers import Stage

_WAITING = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def looks(stage: Stage) -> AbstractContextManager[list[int]]:
    """How many connections waited for a lock, look by look, while the block goes on."""
    return looks_at(stage, _WAITING)


def deadlocks(stage: Stage) -> int:
    """Of the current trial's database, since it was made."""
    with stage.connect() as database:
        row = database.execute(_DEADLOCKS).fetchone()
    return int(row[0]) if row else 0
