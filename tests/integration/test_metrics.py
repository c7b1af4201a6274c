"""Metrics of the ledger, as Prometheus reads them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from celery import group
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import update

import tests.jobs  # noqa: F401
from celeriac import CallMetrics, Unique, enqueue_many
from celeriac.application import Celeriac
from celeriac.errors import DuplicateJob
from celeriac.ledger.limits import limit_rows
from celeriac.ledger.schema.models import JOBS
from celeriac.limits.breaker import Breaker
from celeriac.limits.limit import Limit
from celeriac.operate.job import cancel
from celeriac.operate.ledger_metrics import LedgerCollector
from celeriac.operate.overview import LATELY
from celeriac.worker.counters import Meter
from tests.producers import producing
from tests.scrape import Samples, parsed
from tests.support import wait_until
from tests.workers import ROOT, CeleryProcess, celery, environment


def in_queue(level: str) -> tuple[tuple[str, str], ...]:
    """The labels of a level of the default lane."""
    return (("lane", "default"), ("level", level), ("queue", level))


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    with producing(redis_url, database_url) as app:
        yield app


def scraped(app: Celeriac) -> Samples:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(app))
    return parsed(generate_latest(registry).decode())


def test_what_waits_is_told_by_queue_and_by_task(app: Celeriac) -> None:
    add = app.tasks["tests.add"]
    add.apply_async((1, 2), priority="high")
    add.apply_async((1, 2), countdown=60)
    cancel(add.delay(1, 2).id, app=app)
    found = scraped(app)
    assert found["celeriac_queue_due", in_queue("high")] == 1
    assert found["celeriac_queue_in_broker", in_queue("high")] == 1
    assert found["celeriac_queue_later", in_queue("normal")] == 1
    assert found["celeriac_queue_due", in_queue("normal")] == 0
    assert found["celeriac_jobs", (("state", "due"),)] == 1
    assert found["celeriac_jobs_lately", (("event", "accepted"),)] == 3
    assert found["celeriac_jobs_lately", (("event", "cancelled"),)] == 1
    assert found["celeriac_task_jobs_lately", (("state", "pending"), ("task", "tests.add"))] == 2
    assert found["celeriac_workers", (("state", "alive"),)] == 0
    assert found["celeriac_queue_oldest_seconds", in_queue("high")] >= 0


def test_a_task_that_is_not_known_here_is_one_of_the_others(app: Celeriac) -> None:
    app.tasks["tests.add"].delay(1, 2)
    forgotten = app.tasks.pop("tests.add")
    try:
        found = scraped(app)
    finally:
        app.tasks["tests.add"] = forgotten
    assert found["celeriac_task_jobs_lately", (("state", ""), ("task", "other"))] == 1
    assert not any(("task", "tests.add") in labels for _, labels in found)


def test_many_scrapes_are_one_look(app: Celeriac) -> None:
    collector = LedgerCollector(app)
    first = list(collector.collect())
    app.tasks["tests.add"].delay(1, 2)
    assert list(collector.collect()) == first


def test_every_metric_that_is_written_about_exists(app: Celeriac) -> None:
    app.tasks["tests.add"].delay(1, 2)
    with app.database.transaction() as connection:  # so that there is a wait and a run to tell
        now = datetime.now(UTC)
        connection.execute(update(JOBS).values(state="completed", started=now, finished=now, try_count=1))
        limit_rows.declare(connection, [Limit("stripe", concurrency=1, breaker=Breaker())])
    names = {name for name, _ in scraped(app)} | of_a_worker() | {"celeriac_duplicate_calls_total"}
    for page in ("metrics.md", "alerts.yml", "grafana.json"):
        written = set(re.findall(r"celeriac_\w+", (ROOT / "docs" / page).read_text()))
        assert written <= names, page


def test_calls_whose_key_is_taken_are_counted_by_who_calls(app: Celeriac) -> None:
    @app.task(name="tests.counted", shared=False)
    def sync(order: int) -> None: ...

    for conflict in ("keep", "replace", "reject"):
        first = sync.apply_async((conflict,), unique=Unique())
        again = {"unique": Unique(on_conflict=conflict)}
        if conflict == "reject":
            with pytest.raises(DuplicateJob):
                sync.apply_async((conflict,), **again)
        else:
            assert sync.apply_async((conflict,), **again).id == first.id
    assert enqueue_many(sync, [("keep",), ("keep",), ("new",)], unique=Unique()) == 1
    group(sync.s("keep").set(unique=Unique()) for _ in range(2)).apply_async()
    registry = CollectorRegistry()
    registry.register(CallMetrics(app))
    found = parsed(generate_latest(registry).decode())
    counted = {
        answer: found["celeriac_duplicate_calls_total", (("answer", answer), ("task", "tests.counted"))]
        for answer in ("kept", "replaced", "rejected")
    }
    assert counted == {"kept": 5, "replaced": 1, "rejected": 1}
    assert scraped(app)["celeriac_jobs_following", ()] == 2
    assert "celeriac_duplicate_calls_total" in (ROOT / "docs" / "metrics.md").read_text()


def of_a_worker() -> set[str]:
    """The names of what a worker counts; ``held`` and ``prefetch`` it adds when it starts."""
    families = list(Meter().registry.collect())
    kinds = {"histogram": ("", "_bucket", "_sum", "_count"), "counter": ("_total",)}
    counted = {family.name + end for family in families for end in kinds[family.type]}
    return counted | {"celeriac_worker_held", "celeriac_worker_prefetch"}


def test_every_metric_is_written_about(app: Celeriac) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    families = [*Meter().registry.collect(), *LedgerCollector(app).collect()]
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_a_ledger_that_is_away_is_told_and_not_an_error(tmp_path: Path) -> None:
    away = f"sqlite:///{tmp_path / 'gone' / 'ledger.db'}"
    with producing("redis://127.0.0.1:1/0", away) as app:
        assert scraped(app) == {("celeriac_up", ()): 0}


def test_what_is_seen_for_minutes_is_not_waited_for_longer() -> None:
    rules = [rule for group in alerts()["groups"] for rule in group["rules"]]
    lately = [rule for rule in rules if "_lately" in rule["expr"]]
    assert lately
    for rule in lately:
        assert int(rule["for"].removesuffix("m")) * 60 < LATELY.total_seconds() / 2, rule["alert"]


def test_somebody_speaks_when_every_metric_is_gone() -> None:
    expressions = [rule["expr"] for group in alerts()["groups"] for rule in group["rules"]]
    assert "absent(celeriac_up)" in expressions
    assert "celeriac_up == 0" in expressions


def alerts() -> Any:
    return yaml.safe_load((ROOT / "docs" / "alerts.yml").read_text())


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")"), panel["title"]


def test_the_command_prints_and_serves_them(redis_url: str, sqlite_url: str) -> None:
    with producing(redis_url, sqlite_url) as app:
        app.tasks["tests.add"].delay(1, 2)
        with app.database.transaction() as connection:
            now = datetime.now(UTC)
            connection.execute(update(JOBS).values(state="completed", started=now, finished=now, try_count=1))
    env = environment(redis_url, sqlite_url, {"task_modules": "tests.jobs"})
    once = celery("metrics", "--once", env=env)
    assert (once.returncode, once.stderr) == (0, "")
    printed = parsed(once.stdout)
    assert ("celeriac_workers", (("state", "alive"),)) in printed
    assert printed["celeriac_task_jobs_lately", (("state", "completed"), ("task", "tests.add"))] == 1
    assert ("celeriac_task_run_seconds", (("quantile", "0.95"), ("task", "tests.add"))) in printed
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        taken = celery("metrics", "--port", port, env=env)
        assert (taken.returncode, f"cannot listen on 127.0.0.1:{port}" in taken.stderr) == (1, True)
    with CeleryProcess("metrics", ["--port", str(port)], env=env) as server:
        wait_until(lambda: answers(port), within=30, saying="it serves")
        server.term()
        assert server.wait(100) == 0


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
            return b"celeriac_jobs{" in response.read()
    except OSError:
        return False
