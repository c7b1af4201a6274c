"""The demonstration's receiver of webhooks, on the loopback interface. It misbehaves on purpose, by rule."""

from __future__ import annotations

import base64
import hmac
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Self, cast

TOLERANCE = 300  # seconds that a signature's time may be away from now
_LARGEST = 1_000_000  # bytes of a body
_NUMBER = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Reply:
    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0  # seconds


_ACCEPTED = Reply(HTTPStatus.OK)

#: The reply of each path to the first attempt of a delivery, and to every later one.
REPLIES: Mapping[str, tuple[Reply, Reply]] = MappingProxyType(
    {
        "/ok": (_ACCEPTED, _ACCEPTED),
        "/slow": (Reply(HTTPStatus.OK, after=0.3), _ACCEPTED),
        "/flaky": (Reply(HTTPStatus.SERVICE_UNAVAILABLE), _ACCEPTED),
        "/limited": (Reply(HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "1"}), _ACCEPTED),
        "/gone": (Reply(HTTPStatus.GONE), Reply(HTTPStatus.GONE)),
        "/broken": (Reply(HTTPStatus.INTERNAL_SERVER_ERROR), Reply(HTTPStatus.INTERNAL_SERVER_ERROR)),
    }
)


def genuine(headers: Mapping[str, str], body: bytes, *, secret: bytes, now: float) -> bool:
    """Whether these bytes were signed with ``secret`` within the tolerance (see ``tasks/webhooks.py``)."""
    id, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not id or not _NUMBER.fullmatch(sent) or abs(now - int(sent)) > TOLERANCE:
        return False
    code = hmac.digest(secret, f"{id}.{sent}.".encode() + body, "sha256")
    wanted = b"v1," + base64.b64encode(code)
    found = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(wanted, one) for one in found)


class Receiver(ThreadingHTTPServer):
    """Listens on a free port as soon as it is made, answers while it is used as a context manager."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, secret: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._secret = secret
        self._lock = threading.Lock()
        self._deliveries: Counter[tuple[str, str]] = Counter()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="receiver", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The reply to a delivery."""
        if path not in REPLIES:
            return Reply(HTTPStatus.NOT_FOUND)
        if not genuine(headers, body, secret=self._secret, now=time.time()):
            return Reply(HTTPStatus.UNAUTHORIZED)
        key = (path, headers["webhook-id"])
        with self._lock:
            self._deliveries[key] += 1
            first = self._deliveries[key] == 1
        return REPLIES[path][0 if first else 1]

    def deliveries(self, path: str) -> Counter[str]:
        """How often each delivery came to ``path``, by its id; only those with a valid signature."""
        with self._lock:
            return Counter({id: times for (where, id), times in self._deliveries.items() if where == path})

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: a sender hung up and will retry."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds that a sender may be silent

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not _NUMBER.fullmatch(length) or int(length) > _LARGEST:
            self._send(Reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = cast(Receiver, self.server).answer(self.path, headers, self.rfile.read(int(length)))
        if reply.after:
            time.sleep(reply.after)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        text = f"{reply.status.phrase}\n".encode()
        self.send_response(reply.status)
        for name, value in {
            "Content-Type": "text/plain",
            "Content-Length": str(len(text)),
            **reply.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal shows the jobs."""
