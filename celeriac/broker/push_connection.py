"""The connection to Redis on which a channel pushes messages: one of its own, so that none is looked for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

_CLOSELY = 0.05  # seconds since the last answer within which the broker is taken to be there

#: Told of the error when a message was refused.
Refused: TypeAlias = Callable[[Exception], object]


class PushConnection:
    """A connection to Redis of one channel.

    Args:
        client: of redis-py, with this connection and no other.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._unread: Refused | None = None  # what the answer to the last push is for, if it was not read
        self._error: Exception | None = None  # which that answer is, or was on the way to it
        self._answered = 0.0  # when an answer was read last
        self._pid = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Whether it is the parent's: a fork must not write into it."""
        return self._pid != os.getpid()

    def push(self, key: str, texts: Sequence[str], refused: Refused | None = None) -> None:
        """Push ``texts`` to a list; the first one is consumed first.

        Args:
            refused: lets the answer be read before the next push, if this one follows closely on another. It
                is called with the error then, should that answer be one.

        Raises:
            Exception: any error of Redis, of this push or of the one before. The connection must be closed:
                an answer that was not read would be taken for the next one's.
        """
        self._read()
        connection = self._client.connection
        waits = refused is None or time.monotonic() - self._answered > _CLOSELY
        if not waits:
            connection.can_read(0)  # raises where the server has closed it
        connection.send_command("LPUSH", key, *texts)
        self._unread = _nobody if waits else refused
        if waits:
            self._read()  # the error is raised

    def look(self) -> None:
        """Read the answer to the last push if it is there. If it is an error, the next push tells of it.

        For who has nothing else to do, and must not wait. Never raises.
        """
        if self._unread is None or self._error is not None:
            return
        try:
            if self._client.connection.can_read(0):
                self._take()
        except Exception as exc:  # whatever Redis or the connection says
            self._error = exc

    def close(self) -> None:
        self._client.connection.disconnect()
        self._client.close()

    def _read(self) -> None:
        """Read the answer to the last push, unless that was done."""
        refused, error = self._unread, self._error
        self._unread = self._error = None
        if refused is None:
            return
        try:
            if error is not None:
                raise error
            self._take()
        except Exception as exc:  # whatever Redis or the connection says: it is raised again
            refused(exc)
            raise

    def _take(self) -> None:
        self._client.parse_response(self._client.connection, "LPUSH")
        self._unread = None
        self._answered = time.monotonic()


def _nobody(error: Exception) -> None:
    """Tells nobody: the caller of ``push`` has the error raised."""
