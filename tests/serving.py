"""A console, or another ASGI app, that listens on this machine."""

from __future__ import annotations

import socket
import threading
from typing import Any

import uvicorn


class Serving:
    """An ASGI app on a port of this machine, until ``stop``."""

    def __init__(self, asgi: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()  # who comes before the server is ready waits
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(asgi, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
