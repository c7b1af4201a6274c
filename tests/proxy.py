"""A TCP proxy that can hang: it takes and acknowledges all that is sent, and hands nothing on."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.servers import HOST


class Proxy:
    """Stands before the server on a port of the loopback interface; used as a context manager."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._generation = 0
        self._hanging = False
        self._sockets: list[socket.socket] = []

    def hang(self) -> None:
        """From now on nothing comes back. What is connected now is lost for good, unnoticed."""
        self._generation += 1
        self._hanging = True

    def mend(self) -> None:
        """New connections work; those from before stay silent."""
        self._hanging = False

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection((HOST, self._behind))
                self._sockets.append(server)
                generation = -1 if self._hanging else self._generation
                for source, target in ((client, server), (server, client)):
                    self._start(self._pump, source, target, generation)

    def _pump(self, source: socket.socket, target: socket.socket, generation: int) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if generation == self._generation:
                    target.sendall(data)
        if generation == self._generation:  # a hanging one does not even say that the other side has gone
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    @staticmethod
    def _start(run: object, *args: object) -> None:
        threading.Thread(target=run, args=args, daemon=True).start()  # type: ignore[arg-type]
