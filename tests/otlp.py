"""A collector of traces: takes what OpenTelemetry's exporters send over HTTP."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers import HOST


@dataclass(frozen=True)
class Span:
    """A span as it was exported; ids in hex, no parent is empty."""

    name: str
    service: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failed: bool
    events: tuple[str, ...]
    raw: str


class Collector:
    """What exporters are pointed to; ``environment`` says how."""

    def __init__(self) -> None:
        spans: list[Span] = []
        self.spans = spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # its base's name for it
                body = self.rfile.read(int(self.headers["Content-Length"]))
                spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def environment(self, service: str, *, delay: float = 0.05) -> dict[str, object]:
        """The environment of a process that is traced.

        Args:
            delay: seconds after which spans are sent, unless the process ends before.
        """
        return {
            "otel": 1,
            "OTEL_SERVICE_NAME": service,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self._server.server_port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_BSP_SCHEDULE_DELAY": int(delay * 1000),
        }

    def of(self, job: str) -> list[Span]:
        """The spans of a job, its enqueue first, then by attempt."""
        mine = [span for span in self.spans if span.attributes["messaging.message.id"] == job]
        return sorted(mine, key=lambda span: span.attributes.get("celeriac.attempt", 0))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _spans(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            name=span.name,
            service=_values(resource.resource.attributes).get("service.name", ""),
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            attributes=_values(span.attributes),
            failed=span.status.code == 2,
            events=tuple(event.name for event in span.events),
            raw=str(span),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
