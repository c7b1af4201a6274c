"""Watermarks: for each queue the time before which every sent message must have been delivered.

Messages of a queue are popped in the order in which they were sent. When one is claimed, all messages that
were sent before it have left the broker, to this worker or another.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from datetime import datetime

from celeriac.ledger.writes.claims import Claimed


class Watermarks:
    """Written by the ledger thread, read by the keeper.

    Args:
        grace: seconds that a message may take from being popped to being claimed.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._lock = threading.Lock()
        self._seen: dict[str, deque[tuple[float, datetime]]] = defaultdict(deque)
        self._reached: dict[str, datetime] = {}

    def claimed(self, jobs: Iterable[Claimed]) -> None:
        """Note jobs that were claimed now."""
        now = time.monotonic()
        latest: dict[str, datetime] = {}
        clock: datetime | None = None  # the database's
        for job in jobs:
            latest[job.queue] = max(latest.get(job.queue, job.dispatched), job.dispatched)
            clock = job.dispatched + job.waited
        with self._lock:
            if clock is not None:
                self._forget_after(clock)
            for queue, moment in latest.items():
                seen = self._seen[queue]
                # One entry a second is enough, and keeps the list short under any load.
                if not seen or now - seen[-1][0] >= 1:
                    seen.append((now, moment))

    def _forget_after(self, clock: datetime) -> None:
        """Drop times in the future: the database's clock was set back."""
        for queue, moment in list(self._reached.items()):
            if moment > clock:
                del self._reached[queue]
        for seen in self._seen.values():
            while seen and seen[-1][1] > clock:
                seen.pop()

    def reached(self, queue: str) -> datetime | None:
        """The time before which every sent message of ``queue`` must have been claimed; None: not known."""
        ripe = time.monotonic() - self._grace
        with self._lock:
            seen = self._seen[queue]
            while seen and seen[0][0] <= ripe:
                _, moment = seen.popleft()
                self._reached[queue] = max(self._reached.get(queue, moment), moment)
            return self._reached.get(queue)
