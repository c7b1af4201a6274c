"""How often transactions wait for each other, as PostgreSQL sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.trial_servers import Stage

_EVERY = 0.02  # seconds between two looks

_WAITING = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@contextmanager
def looks(stage: Stage) -> Iterator[list[int]]:
    """How many connections waited for a lock, look by look, while the block goes on."""
    found: list[int] = []
    ended = threading.Event()

    def look() -> None:
        with stage.connect() as database:
            while not ended.wait(_EVERY):
                row = database.execute(_WAITING).fetchone()
                found.append(int(row[0]) if row else 0)

    thread = threading.Thread(target=look, name="locks")
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def deadlocks(stage: Stage) -> int:
    """Of the current trial's database, since it was made."""
    with stage.connect() as database:
        row = database.execute(_DEADLOCKS).fetchone()
    return int(row[0]) if row else 0
