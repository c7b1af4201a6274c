"""The event loop's timers: those that were cancelled are forgotten now, not when they would be due.

Every job of a prefork worker has a timer for its hard limit, an hour by default, and Celery cancels
it when the job ends. kombu's heap keeps a cancelled entry, about 500 bytes, until its time has come.
"""

from __future__ import annotations

import heapq
from typing import Any

#: Seconds between two looks.
EVERY = 5.0

_FEW = 1_000  # entries that are not worth a look


def forget_cancelled(timer: Any) -> None:
    """Drop the cancelled entries of a ``kombu.asynchronous.timer.Timer``, in its own thread."""
    queue: list[Any] = timer._queue
    if len(queue) > _FEW:
        queue[:] = [event for event in queue if not event[2].canceled]  # its own loop holds this very list
        heapq.heapify(queue)
