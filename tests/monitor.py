"""What a Redis server was asked by everybody, command by command, as its MONITOR tells it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import redis

from tests.servers import ValkeyServer

_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')

#: Commands whose arguments are channels, and how many of them.
_CHANNELS = {
    b"PUBLISH": 1,
    b"SUBSCRIBE": None,
    b"PSUBSCRIBE": None,
    b"UNSUBSCRIBE": None,
    b"PUNSUBSCRIBE": None,
}


class Monitor:
    """Records every command while it is open."""

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server
        self._client = server.client(timeout=600)
        self._lines: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, name="test-monitor", daemon=True)

    def __enter__(self) -> Self:
        self._connection = self._client.connection_pool.get_connection()
        self._connection.send_command("MONITOR")
        self._connection.read_response()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()
        self._thread.join(10)
        self._client.close()

    def _listen(self) -> None:
        with suppress(Exception):  # the connection is closed under it: the end
            while True:
                self._lines.append(self._connection.read_response())

    def commands(self) -> list[tuple[bytes, ...]]:
        """Each command with its arguments, as Redis escapes them; the name in capitals."""
        found = [tuple(_QUOTED.findall(line)) for line in list(self._lines)]
        return [(words[0].upper(), *words[1:]) for words in found if words]

    def count(self) -> Counter[str]:
        """How often each command was given."""
        return Counter(words[0].decode() for words in self.commands())

    def names(self) -> set[bytes]:
        """Every key and every channel that a command named."""
        with self._server.client() as client:
            return {name for words in set(self.commands()) for name in _names(client, words)}


def _names(client: redis.Redis, words: tuple[bytes, ...]) -> Iterator[bytes]:
    command, *rest = words
    if command in _CHANNELS:
        yield from rest[: _CHANNELS[command]]
    elif command == b"SCAN":
        yield rest[[word.upper() for word in rest].index(b"MATCH") + 1] if b"MATCH" in rest else b"*"
    else:
        with suppress(redis.ResponseError):  # it takes no keys
            yield from (each.encode() for each in client.command_getkeys(*words))
