"""``/live``, ``/ready`` and ``/metrics`` over HTTP, where CELERIAC_HEALTH_PORT asks for them."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Container
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from celeriac.events import Event
from celeriac.observe import host_names
from celeriac.observe.liveness import LivenessReporter
from celeriac.settings.platform import Settings

logger = logging.getLogger(__name__)

#: Connections at a time. One more closes the oldest, so that idle clients cannot block a probe.
MOST = 16


class ProbeServer(ThreadingHTTPServer):
    """An HTTP server. It listens as soon as it is made and answers once it is started.

    Args:
        hosts: names with a dot that a request may give as its host, beside this machine's own.
    """

    daemon_threads = True

    def __init__(
        self,
        address: str,
        port: int,
        liveness: LivenessReporter,
        *,
        meter: CollectorRegistry | None = None,
        hosts: Container[str] = (),
    ) -> None:
        super().__init__((address, port), _Handler)
        self.liveness = liveness
        self.meter = meter
        self._hosts = hosts
        self._open: list[socket.socket] = []  # the oldest first
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="probes", daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def knows(self, host: str | None) -> bool:
        """Whether a request may give ``host`` as its host. One without a host comes from no browser."""
        return host_names.is_safe(_name(host or ""), known=self._hosts)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.append(request)
            surplus = self._open.pop(0) if len(self._open) > MOST else None
        if surplus is not None:
            with suppress(OSError):  # it was closed by the client
                surplus.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock, suppress(ValueError):  # it was closed as the oldest one
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: the client has hung up."""


def serve(
    settings: Settings, liveness: LivenessReporter, *, meter: CollectorRegistry | None = None
) -> ProbeServer | None:
    """Start a probe server. None when no port is set, or when the port is taken: the process works without.

    Args:
        meter: the metrics of this process, if it has any.
    """
    if settings.health_port is None:
        return None
    try:
        server = ProbeServer(
            settings.health_address, settings.health_port, liveness, meter=meter, hosts=settings.health_hosts
        )
    except OSError as exc:
        logger.error(Event.NO_PROBES, {"port": settings.health_port, "error": exc})
        return None
    server.start()
    return server


class _Handler(BaseHTTPRequestHandler):
    timeout = 5  # seconds that a client may be silent

    def do_GET(self) -> None:
        server = cast(ProbeServer, self.server)
        if not server.knows(self.headers.get("Host")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "name this host in CELERIAC_HEALTH_HOSTS")
            return
        if self.path == "/metrics" and server.meter is not None:
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(server.meter))
            return
        health = server.liveness.health()
        well = {"/live": health.live, "/ready": health.ready}.get(self.path)
        if well is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = json.dumps({"live": health.live, "ready": health.ready, "reason": health.reason})
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, "application/json", body.encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a probe comes every few seconds."""


def _name(host: str) -> str:
    """The name in a Host header, without its port.

    >>> _name("Worker-1:8080"), _name("[::1]:8080"), _name("127.0.0.1")
    ('worker-1', '::1', '127.0.0.1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
