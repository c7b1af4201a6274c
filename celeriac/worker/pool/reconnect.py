"""Between two connections to the broker: serve the pool, and wait longer after each short connection.

Celery sleeps there. But children end their jobs meanwhile, hang, or die: their results must be read, and hard
time limits must fire.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.utils.functional import noop
from celery.worker import state

from celeriac.worker.pool import prefork

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

#: Seconds. A connection that lasted less counts as failed.
_SHORT = 10.0

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 1.0  # seconds


class Pace:
    """How long to wait before the next connection: longer each time that one breaks soon after it was made.

    A broker that refuses writes still accepts connections, so that each one breaks at once.
    """

    def __init__(self) -> None:
        self._since: float | None = None  # when the connection was made, on the monotonic clock
        self._pause = 0.0

    def pause(self) -> float:
        """Seconds to wait before the next connection."""
        return self._pause

    def connected(self, now: float) -> None:
        self._since = now

    def lost(self, now: float) -> None:
        since, self._since = self._since, None
        if since is None:
            return  # there was no connection: Celery itself has waited between its tries
        short = now - since < _SHORT
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE) if short else 0.0


def pass_time(consumer: Consumer, seconds: float) -> None:
    """Let ``seconds`` pass, in which the event loop does what the pool needs.

    Raises:
        SystemExit: the worker is to stop.
    """
    end = time.monotonic() + seconds
    hub = consumer.hub
    if hub is None or not seconds:  # other pools' jobs need no event loop
        time.sleep(seconds)
        state.maybe_shutdown()
        return
    with _pool_in(hub, consumer):
        hub.call_later(0, consumer.pool.maintain_pool)  # its own timer fires only every five seconds
        hub.call_later(seconds, noop)  # wakes the loop at the end
        loop = hub.create_loop()
        while time.monotonic() < end:
            state.maybe_shutdown()
            try:
                next(loop)
            except StopIteration:  # as in Celery's own loop: its poller was closed
                loop = hub.create_loop()


@contextmanager
def _pool_in(hub: Any, consumer: Consumer) -> Iterator[None]:
    """Register the pool with the event loop, which forgot it when the connection was lost.

    When the next connection is lost, Celery cancels all timers that were set since this connection was begun.
    Timers of jobs must stay.
    """
    before = _entries(hub)
    prefork.watch_again(getattr(consumer.pool, "_pool", None))
    consumer.pool.register_with_event_loop(hub)
    of_pool = _entries(hub) - before
    try:
        yield
    finally:
        for entry in of_pool:
            hub.timer.cancel(entry)
        # Celery below 5.7 cancels no timers, and has no such set.
        if (kept := getattr(consumer, "timer_entries_before_start", None)) is not None:
            kept |= _entries(hub) - before - of_pool


def _entries(hub: Any) -> set[Any]:
    return {scheduled.entry for scheduled in hub.timer.queue}
