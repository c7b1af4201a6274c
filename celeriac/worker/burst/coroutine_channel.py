"""The channel between the worker's main process and the coroutines of one child.

billiard's pipes are served by what runs the child's ordinary jobs. This one is served by threads of its own,
so that a coroutine begins, ends and is cancelled while the child is at a long job.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

from kombu.serialization import pickle

#: Kinds of messages. To the child: begin a coroutine, cancel it, begin no more. From the child: a coroutine
#: has ended, it was not begun, the child begins no more since it is to end.
BEGIN, CANCEL, STOP, ENDED, BACK, LEAVES = range(6)

_LENGTH = struct.Struct("!Q")
_CHUNK = 256 * 1024  # bytes


class Channel:
    """Made before its child is forked. Neither end blocks the main process."""

    def __init__(self) -> None:
        self._mine, self._childs = socket.socketpair()
        self._mine.setblocking(False)
        self._writing = self._mine.dup()  # Celery's event loop watches a file for one thing alone
        self._out = bytearray()
        self._in = bytearray()
        self.is_open = True  # in this process

    # ---- around the fork

    def forked(self) -> None:
        """In the main process: the child's end is the child's now."""
        self._childs.close()

    def in_child(self) -> ChildEnd:
        """In the child: its end."""
        self._mine.close()
        self._writing.close()
        self._childs.setblocking(True)
        return ChildEnd(self._childs)

    def close(self) -> None:
        """Close what this process has of it; also in another child, which has inherited it."""
        self.is_open = False
        self._mine.close()
        self._writing.close()
        self._childs.close()

    # ---- called by the main process

    def fileno(self) -> int:
        return self._mine.fileno()

    def writing_fileno(self) -> int:
        """To be watched for when more can be written."""
        return self._writing.fileno()

    def send(self, message: tuple[Any, ...]) -> bool:
        """Send a message; False: the rest of it is to be flushed when the child has read some more."""
        self._out += _framed(message)
        return self.flush()

    def flush(self) -> bool:
        """Write what is to be written; False: not all of it could be."""
        try:
            while self._out:
                # A handler of a signal may send, too, between any two of these steps.
                data, self._out = self._out, bytearray()
                sent = 0
                try:
                    sent = self._mine.send(data[:_CHUNK])
                finally:
                    self._out = data[sent:] + self._out
        except BlockingIOError:
            return False
        except OSError:  # the child has ended; whoever reaps it sees what it had begun
            self._out.clear()
        return True

    def receive(self) -> list[tuple[Any, ...]]:
        """The messages that have come in whole."""
        try:
            while found := self._mine.recv(_CHUNK):
                self._in += found
        except OSError:  # nothing more, for now or for ever
            pass
        data, self._in = self._in, bytearray()
        messages, at = [], 0
        while len(data) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
            if end > len(data):
                break
            messages.append(pickle.loads(bytes(data[at + _LENGTH.size : end])))
            at = end
        self._in = data[at:] + self._in
        return messages


class ChildEnd:
    """The child's end. Several threads may send, one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._reading: Any = end.makefile("rb", buffering=_CHUNK)
        self._lock = threading.Lock()

    def send(self, message: tuple[Any, ...]) -> None:
        """
        Raises:
            Exception: it cannot be pickled. Nothing was sent.
        """
        framed = _framed(message)
        with self._lock:
            self._end.sendall(framed)

    def receive(self) -> tuple[Any, ...] | None:
        """Wait for the next message; None: the main process is gone."""
        try:
            head = self._reading.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                return None
            body = self._reading.read(_LENGTH.unpack(head)[0])
        except OSError:
            return None
        message: tuple[Any, ...] = pickle.loads(body)
        return message


class Waker:
    """Lets a thread end the wait of another one for a file."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def wake(self) -> None:
        with suppress(BlockingIOError):  # it is awake
            os.write(self._write, b"x")

    def sleep(self) -> None:
        """Forget that it was woken."""
        with suppress(BlockingIOError):
            os.read(self._read, _CHUNK)

    def fileno(self) -> int:
        return self._read


def _framed(message: tuple[Any, ...]) -> bytes:
    body: bytes = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body
