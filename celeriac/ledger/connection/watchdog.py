"""Cut a connection whose server has stopped answering, so that nobody waits for it without end.

libpq has no limit on how long it waits for an answer, and a frozen server's kernel keeps the
connection alive. One thread watches all the waiting connections of a process. The time for which the process
itself did not run, on a busy machine or stopped, is not the server's and is added to the deadlines.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TICK = 0.05  # seconds between two looks while somebody waits
_LATE = 2 * _TICK  # seconds between two looks from which on this process has stood still
_LINGER = 5.0  # seconds without a waiter before the thread sleeps for good


class Watch:
    """One connection on which somebody waits for an answer."""

    __slots__ = ("deadline", "descriptor", "fired")

    def __init__(self, descriptor: int, deadline: float) -> None:
        self.descriptor = descriptor
        self.deadline = deadline  # on the monotonic clock
        self.fired = False


class Watchdog:
    """One thread that watches connections; after a fork the child starts its own."""

    _pid = 0
    _lock: threading.Lock
    _awake: threading.Event
    _watches: set[Watch]
    _thread: threading.Thread | None

    @contextmanager
    def watching(self, descriptor: int, *, within: float) -> Iterator[Watch]:
        """Shut the socket ``descriptor`` down if the block has not ended ``within`` seconds."""
        if self._pid != os.getpid():
            self._reset()
        watch = Watch(descriptor, time.monotonic() + within)
        with self._lock:
            self._watches.add(watch)
            if not self._awake.is_set():
                self._awake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ledger-watchdog", daemon=True)
                self._thread.start()
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._watches = set()
        self._thread = None

    def _run(self) -> None:
        idle_since = now = time.monotonic()
        while True:
            before = now
            time.sleep(_TICK)
            now = time.monotonic()
            stood_still = max(0.0, now - before - _LATE)
            with self._lock:
                for watch in self._watches:
                    watch.deadline += stood_still
                    if now >= watch.deadline and not watch.fired:
                        watch.fired = True
                        _shut_down(watch.descriptor)
                if self._watches:
                    idle_since = now
                elif now - idle_since > _LINGER:
                    self._awake.clear()
            if not self._awake.is_set():
                self._awake.wait()
                idle_since = now = time.monotonic()


def _shut_down(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


#: One per process is enough; it starts its thread when first used.
WATCHDOG = Watchdog()
