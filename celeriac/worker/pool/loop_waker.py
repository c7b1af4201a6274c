"""Let the event loop run at once what another thread asks it to. kombu does so by itself from 5.7 on.

Before, the loop sleeps until an event or a timer comes, up to a second, and a job that was won waits with it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any


class LoopWaker:
    """A pair of sockets of which the loop watches one."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    @classmethod
    def for_hub(cls, hub: Any) -> LoopWaker | None:
        """One for a ``kombu.asynchronous.hub.Hub`` that cannot be woken; None where none is needed."""
        return None if hub is None or hasattr(hub, "_waker") else cls()

    def watch(self, hub: Any) -> None:
        """Have ``hub`` watch it, which forgets all that it watches when a connection is lost."""
        hub.add_reader(self._reader.fileno(), self._drain)

    def wake(self) -> None:
        with suppress(OSError):  # it is full: the loop will wake; or closed: the worker has ended
            self._writer.send(b"\0")

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _drain(self) -> None:
        with suppress(OSError):
            self._reader.recv(4096)
