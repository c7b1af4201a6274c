"""OpenTelemetry traces of an enqueue, its attempts, and what the attempts enqueue.

The trace context is a header of the message, so it is in the row. Every attempt is a child of the enqueue,
also after a delay, a retry, a rescue or a replay. OpenTelemetry is imported only when traces are on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from celery import signals

from celeriac import __version__
from celeriac.errors import BadArgument, SettingsError
from celeriac.events import Event
from celeriac.headers import STAMP
from celeriac.priorities import parse as parse_priority

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer, TracerProvider

    from celeriac.application import Celeriac
    from celeriac.settings.platform import Settings

logger = logging.getLogger(__name__)

#: The attribute of a request that holds the span of its running attempt.
_SPAN = "celeriac_span"


def set_up(app: Celeriac, settings: Settings) -> None:
    """Trace the jobs of ``app`` if the settings ask for it.

    Raises:
        SettingsError: OpenTelemetry is not installed.
    """
    if not settings.otel:
        return
    if not (_is_installed("opentelemetry.trace") and _is_installed("opentelemetry.sdk")):
        raise SettingsError(["CELERIAC_OTEL: traces are made with a library: pip install 'celeriac[otel]'"])
    app.tracing = tracing = Tracing(app)
    signals.task_prerun.connect(tracing.begin, weak=False)
    signals.task_postrun.connect(tracing.end, weak=False)
    signals.worker_process_shutdown.connect(tracing.flush, weak=False)


class Tracing:
    """Spans of one app's jobs: ``enqueue TASK``, and below it ``attempt TASK`` for each that ran."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._tracer: Tracer | None = None
        self._lock = threading.Lock()

    @property
    def tracer(self) -> Tracer:
        """The tracer of the process's provider; without one, of a provider that OTEL_* configure.

        It is made at the first span, because a pool's child must make it after the fork.
        """
        with self._lock:
            if self._tracer is None:
                self._tracer = _tracer()
        return self._tracer

    @tracer.setter
    def tracer(self, tracer: Tracer) -> None:
        self._tracer = tracer

    # ---- an enqueue

    def around(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """``send``, Celery's sender of messages, with a span."""

        def traced(producer: Any, name: str, message: Any, **options: Any) -> Any:
            with self._enqueue(name, message.headers, options):
                return send(producer, name, message, **options)

        return traced

    @contextmanager
    def _enqueue(self, name: str, headers: dict[str, Any], options: Mapping[str, Any]) -> Iterator[None]:
        from opentelemetry import propagate, trace

        running = self._app.current_worker_task
        if running is not None and _is_retry(headers, running.request):
            headers |= _carried(running.request)  # its next attempt is a child of the same enqueue
            yield
            return
        attributes = _attributes(name, headers["id"], "send", self._list_of(options))
        with self.tracer.start_as_current_span(
            f"enqueue {name}", kind=trace.SpanKind.PRODUCER, attributes=attributes
        ):
            propagate.inject(headers)
            yield

    def _list_of(self, options: Mapping[str, Any]) -> Any:
        """The list that the message is for: the options name a lane, the door will add the level."""
        queue, priority = options.get("queue"), options.get("priority")
        name = getattr(queue, "name", queue)
        if not isinstance(name, str):
            return name
        try:
            level = None if priority is None else parse_priority(priority)
        except BadArgument:  # the door refuses it, by its name
            return name
        return self._app.amqp.queues.lanes.list_for(name, level)

    # ---- an attempt: from before the task's first line until its callbacks and successors are sent

    def begin(self, task: Any, **_: Any) -> None:
        from opentelemetry import context, propagate, trace

        if task.app is not self._app:
            return
        request = task.request
        above: Context = propagate.extract(_carried(request))
        queue = (request.delivery_info or {}).get("routing_key")
        attributes = _attributes(task.name, request.id, "process", queue)
        attributes["celeriac.attempt"] = (request.get(STAMP) or {}).get("attempt", request.retries + 1)
        span = self.tracer.start_span(
            f"attempt {task.name}", above, kind=trace.SpanKind.CONSUMER, attributes=attributes
        )
        setattr(request, _SPAN, (span, context.attach(trace.set_span_in_context(span, above))))

    def end(self, task: Any, state: str | None, retval: Any, **_: Any) -> None:
        from opentelemetry import context, trace

        span, token = task.request.__dict__.pop(_SPAN, (None, None))
        if span is None:
            return
        if state is not None:
            span.set_attribute("celeriac.outcome", state.lower())
        error = getattr(retval, "exc", None) or retval  # a Retry holds the exception that caused it
        if state in _FAILED and isinstance(error, Exception):
            span.record_exception(error)
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        context.detach(token)
        span.end()

    def flush(self, **_: Any) -> None:
        """Send the spans of a pool's child that ends: its exit runs no ``atexit`` functions."""
        from opentelemetry import trace

        flush = getattr(trace.get_tracer_provider(), "force_flush", None)
        if self._tracer is not None and flush is not None:
            flush()


#: Celery's states of an attempt that brought an exception.
_FAILED = frozenset({"FAILURE", "RETRY", "REJECTED"})


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing too
        return False


def _is_retry(headers: Mapping[str, Any], request: Any) -> bool:
    return bool(headers["id"] == request.id and headers["retries"] > request.retries)


def _carried(request: Any) -> dict[str, str]:
    """The trace context in the running job's headers."""
    from opentelemetry import propagate

    found = {name: request.get(name) for name in propagate.get_global_textmap().fields}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _attributes(task: str, job: str, operation: str, queue: Any) -> dict[str, Any]:
    """The attributes of a span, named as in OpenTelemetry. A job's arguments are not among them."""
    attributes = {
        "messaging.system": "celeriac",
        "messaging.operation.type": operation,
        "messaging.message.id": job,
        "celeriac.task": task,
    }
    return attributes | ({"messaging.destination.name": str(queue)} if queue else {})


# ---- the provider


def _tracer() -> Tracer:
    """The tracer; one that does nothing when it cannot be made: no job fails because of its trace."""
    from opentelemetry.trace import NoOpTracer

    try:
        return _provider().get_tracer("celeriac", __version__)
    except Exception as exc:  # exporters are code of others and may raise anything
        logger.warning(Event.NOT_TRACED, {"error": exc})
        return NoOpTracer()


def _provider() -> TracerProvider:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    found = trace.get_tracer_provider()
    if not isinstance(found, trace.ProxyTracerProvider):
        return found  # the process has set up its own
    made = TracerProvider()  # which reads resource, sampler and limits from the environment
    for exporter in _exporters(os.environ):
        made.add_span_processor(BatchSpanProcessor(exporter()))
    trace.set_tracer_provider(made)
    return made


def _exporters(environment: Mapping[str, str]) -> list[Any]:
    """The exporters of OTEL_TRACES_EXPORTER, ``otlp`` unless it is set."""
    names = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    known = {"otlp": "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"}
    wanted = [known.get(name.strip(), name.strip()) for name in names.split(",")]
    return [_exporter(name) for name in wanted if name != "none"]


def _exporter(name: str) -> Any:
    for found in entry_points(group="opentelemetry_traces_exporter", name=name):
        return found.load()
    raise ValueError(f"OTEL_TRACES_EXPORTER: wanted an exporter that is installed, found {name!r}")
