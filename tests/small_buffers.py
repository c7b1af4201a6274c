"""For ``celery worker -I``: what the worker tells PostgreSQL leaves in small pieces, as over a network."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from contextlib import suppress
from typing import Any

from celery.signals import worker_init

#: Bytes; the system's least.
_SIZE = 2048
_EVERY = 0.05  # seconds: connections are made at any time


def _shrink(port: int) -> None:
    for number in os.listdir("/dev/fd"):
        with suppress(OSError):  # it is closed by now, or has no peer
            if not stat.S_ISSOCK(os.fstat(int(number)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(number))) as one:
                if one.family == socket.AF_INET and one.getpeername()[1] == port:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SIZE)


@worker_init.connect(weak=False)
def _begin(sender: Any, **_: Any) -> None:
    port = sender.app.settings.database.port

    def shrink() -> None:
        while True:
            _shrink(port)
            time.sleep(_EVERY)

    threading.Thread(target=shrink, daemon=True).start()
