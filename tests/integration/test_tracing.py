"""What the door traces: what is accepted, what is refused, many at a time; nothing unless it is asked to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import signals
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import update

import tests.jobs  # noqa: F401
from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.errors import PayloadTooLarge, SettingsError
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.claims import Message, messages
from celeriac.observe.traces import _exporters
from celeriac.operate.dead_letters import replay_one
from celeriac.operate.job import job, jobs
from celeriac.schedules.firing import fire_due
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.workers import ROOT


class House:
    """A producer whose spans stay in memory."""

    def __init__(
        self, broker: str, database: str, stack: ExitStack, *, otel: bool = True, traced: bool = True
    ) -> None:
        known: dict[str, Any] = {"broker_url": broker, "database_url": database, "otel": otel}
        self.app: Celeriac = build(Settings(**known, task_modules=("tests.jobs",)), set_as_current=False)
        stack.callback(self.app.database.close)
        stack.callback(self.app.close)
        self._exported = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exported))
        stack.callback(provider.shutdown)
        self.tracer = provider.get_tracer("tests")
        if (tracing := self.app.tracing) is not None:
            if traced:
                tracing.tracer = self.tracer
            stack.callback(signals.task_prerun.disconnect, tracing.begin)
            stack.callback(signals.task_postrun.disconnect, tracing.end)
            stack.callback(signals.worker_process_shutdown.disconnect, tracing.flush)

    def spans(self) -> list[Any]:
        return list(self._exported.get_finished_spans())

    def rows(self) -> list[Message]:
        """What the jobs' messages are made of, the earliest first."""
        ids = [UUID(found.id) for found in jobs(app=self.app)[::-1]]
        with self.app.database.reading() as connection:
            found = messages(connection, ids)
        return [found[id] for id in ids]


def context_of(span: Any) -> str:
    """A span as a header names it."""
    found = span.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


@pytest.fixture
def house(redis_url: str, sqlite_url: str) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(redis_url, sqlite_url, stack)


def test_a_row_keeps_the_context_of_its_enqueue(house: House) -> None:
    id = house.app.tasks["tests.add"].apply_async((1, 2), countdown=60).id
    (span,), (row,) = house.spans(), house.rows()
    assert row.headers["traceparent"] == context_of(span)
    assert (span.name, span.kind, span.parent) == ("enqueue tests.add", trace.SpanKind.PRODUCER, None)
    assert dict(span.attributes) == {
        "messaging.system": "celeriac",
        "messaging.operation.type": "send",
        "messaging.message.id": id,
        "messaging.destination.name": "normal",
        "celeriac.task": "tests.add",
    }


@pytest.mark.parametrize(("priority", "queue"), [("high", "high"), (35, "critical"), (None, "normal")])
def test_an_enqueue_names_the_list_of_its_row(house: House, priority: Any, queue: str) -> None:
    id = house.app.tasks["tests.noop"].apply_async(priority=priority).id
    found = house.spans()[-1].attributes["messaging.destination.name"]
    assert (found, job(id, app=house.app).queue) == (queue, queue)


def test_an_enqueue_is_a_child_of_what_goes_on_around_it(house: House) -> None:
    with house.tracer.start_as_current_span("request") as around:
        house.app.tasks["tests.noop"].delay()
    enqueue, _ = house.spans()
    assert enqueue.parent.span_id == around.get_span_context().span_id


def test_a_refused_enqueue_leaves_nothing_behind(house: House) -> None:
    with pytest.raises(PayloadTooLarge):
        house.app.tasks["tests.echo"].delay("x" * 2_000_000)
    assert not trace.get_current_span().get_span_context().is_valid
    (span,) = house.spans()
    assert span.status.status_code is trace.StatusCode.ERROR


def test_many_jobs_share_the_span_of_their_chunk(house: House) -> None:
    assert enqueue_many(house.app.tasks["tests.add"], ((n, n) for n in range(5))) == 5
    (span,) = house.spans()
    assert {row.headers["traceparent"] for row in house.rows()} == {context_of(span)}


def test_each_fire_of_a_schedule_has_a_trace(house: House) -> None:
    made = schedules.register("tick", "tests.noop", every=60, catch_up="all", app=house.app)
    assert made.next_run is not None
    assert len(fire_due(house.app, now=made.next_run + timedelta(seconds=61)).jobs) == 2
    traces = {row.headers["traceparent"] for row in house.rows()}
    assert len(traces) == 2
    assert traces < {context_of(span) for span in house.spans()}  # it was tried once when it was registered


def test_nothing_is_traced_unless_it_is_asked_for(redis_url: str, sqlite_url: str) -> None:
    with ExitStack() as stack:
        house = House(redis_url, sqlite_url, stack, otel=False)
        assert house.app.tracing is None
        with house.tracer.start_as_current_span("request"):
            house.app.tasks["tests.noop"].delay()
        (row,) = house.rows()
        assert "traceparent" not in row.headers
        assert len(house.spans()) == 1


def test_a_process_that_is_not_traced_does_not_import_it() -> None:
    """The Redis client imports what it would count with, if that is installed."""
    parts = {"opentelemetry.propagate", "opentelemetry.sdk.trace"}
    code = f"import sys, app.celery; print({parts} & {{*sys.modules}})"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ended.stdout == "set()\n", ended.stderr


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"CELERIAC_OTEL: .* pip install 'celeriac\[otel\]'"):
        build(Settings(otel=True), set_as_current=False).finalize()


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ["OTLPSpanExporter"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["OTLPSpanExporter", "ConsoleSpanExporter"]),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            ["OTLPSpanExporter"],
        ),
    ],
)
def test_exporters_are_those_of_the_environment(environment: dict[str, str], names: list[str]) -> None:
    assert [exporter.__name__ for exporter in _exporters(environment)] == names


def test_a_replayed_dead_letter_stays_in_its_trace(house: House) -> None:
    """Also with other arguments, for which its message is written anew."""
    id = house.app.tasks["tests.add"].delay(1, "x").id
    before = house.rows()[0].headers["traceparent"]
    with house.app.database.transaction() as connection:
        connection.execute(update(JOBS).values(state="failed", finished=JOBS.c.queued))
    assert replay_one(id, args=[1, 2], app=house.app)
    assert job(id, app=house.app).args == [1, 2]
    assert house.rows()[0].headers["traceparent"] == before


def test_a_job_is_accepted_though_it_cannot_be_traced(
    redis_url: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nowhere")
    with ExitStack() as stack:
        house = House(redis_url, sqlite_url, stack, traced=False)
        house.app.tasks["tests.noop"].delay()
        house.app.tasks["tests.noop"].delay()
        assert len(house.rows()) == 2
    (said,) = [record.getMessage() for record in caplog.records if record.name == "celeriac.observe.traces"]
    assert said == (
        "jobs are not traced in this process: "
        "OTEL_TRACES_EXPORTER: wanted an exporter that is installed, found 'nowhere'"
    )
