"""``/live``, ``/ready`` and ``/metrics`` over HTTP, where CELERIAC_HEALTH_PORT asks for them."""

from __future__ import annotations

import json
import logging
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from celeriac.events import Event
from celeriac.observe.liveness import Pulse
from celeriac.settings import Settings

logger = logging.getLogger(__name__)


class ProbeServer(ThreadingHTTPServer):
    """Listens as soon as it is made, answers once it is started."""

    daemon_threads = True

    def __init__(
        self, address: str, port: int, pulse: Pulse, *, meter: CollectorRegistry | None = None
    ) -> None:
        super().__init__((address, port), _Handler)
        self.pulse = pulse
        self.meter = meter

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="probes", daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: who asked has hung up."""


def serve(settings: Settings, pulse: Pulse, *, meter: CollectorRegistry | None = None) -> ProbeServer | None:
    """A server that runs; None when none is wanted, or its port is taken, which is no reason not to work.

    Args:
        meter: what is counted, if anything is.
    """
    if settings.health_port is None:
        return None
    try:
        server = ProbeServer(settings.health_address, settings.health_port, pulse, meter=meter)
    except OSError as exc:
        logger.error(Event.NO_PROBES, {"port": settings.health_port, "error": exc})
        return None
    server.start()
    return server


class _Handler(BaseHTTPRequestHandler):
    timeout = 5  # seconds that a client may be silent

    def do_GET(self) -> None:
        server = cast(ProbeServer, self.server)
        if self.path == "/metrics" and server.meter is not None:
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(server.meter))
            return
        health = server.pulse.health()
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
        """Nothing: a probe every few seconds is no news."""
