"""A number that PostgreSQL knows, asked again and again while something else goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.trial_servers import Stage

_EVERY = 0.02  # seconds between two looks


@contextmanager
def looks_at(stage: Stage, query: str) -> Iterator[list[int]]:
    """What ``query``, which counts something, finds while the block goes on, look by look."""
    found: list[int] = []
    ended = threading.Event()

    def look() -> None:
        with stage.connect() as database:
            while not ended.wait(_EVERY):
                row = database.execute(query).fetchone()
                found.append(int(row[0]) if row else 0)

    thread = threading.Thread(target=look, name="looks")
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
