"""Remove cancelled timers of the event loop now, and not when they would be due.

Every job of a prefork worker has a timer for its hard limit, an hour by default, and Celery cancels
it when the job ends. kombu's heap keeps a cancelled entry, about 500 bytes, until its time has come.
"""

from __future__ import annotations

import heapq
from typing import Any

#: Seconds between two clean-ups.
EVERY = 5.0

_FEW = 1_000  # fewer entries are not worth a clean-up


def forget_cancelled(timer: Any) -> None:
    """Drop the cancelled entries of a ``kombu.asynchronous.timer.Timer``, in its own thread."""
    queue: list[Any] = timer._queue
    if len(queue) > _FEW:
        queue[:] = [
            event for event in queue if not event[2].canceled
        ]  # in place: the timer's loop holds this list
        heapq.heapify(queue)
