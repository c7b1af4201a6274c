"""A prefix: everything in Redis begins with it, and installations with different ones share nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from celery import chord

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.observe import redis_workers
from celeriac.operate.doctor import examine
from celeriac.operate.job import job, jobs
from celeriac.schedules import register
from tests.monitor import Monitor
from tests.producers import producing
from tests.servers import ValkeyServer, free_port
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import CeleryProcess, Worker, environment

PREFIX = "shop:"
LONG = 40.0

#: The doctor searches the names of all keys for other installations.
LOOKED_FOR = f"*{redis_workers.KEY}"


def all_ended(app: Celeriac) -> bool:
    return all(each.state in TERMINAL for each in jobs(app=app, limit=1000))


def failed(app: Celeriac) -> list[Any]:
    return [each for each in jobs(app=app, limit=1000) if each.state is JobState.FAILED]


def flower_workers(port: int) -> set[str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/workers?json=1", timeout=10) as answer:
            return {row["hostname"] for row in json.load(answer)["data"]}
    except OSError:
        return set()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def start(stack: ExitStack, command: str, *words: str, env: dict[str, str]) -> CeleryProcess:
    return stack.enter_context(CeleryProcess(command, words, env=env))


def a_bit_of_everything(app: Celeriac, worker: Worker) -> None:
    """What a running system does with Redis: jobs, results, a chord, a rate, control, garbage, a purge."""
    tasks = app.tasks
    tasks["tests.seldom"].delay()
    tasks["tests.seldom"].delay()
    assert tasks["tests.add"].delay(2, 3).get(timeout=LONG) == 5
    members = [tasks["tests.add"].s(each, each) for each in range(5)]
    assert chord(members)(tasks["tests.total"].s()).get(timeout=LONG) == 20
    tasks["tests.flaky"].delay(1)
    for _ in range(300):
        tasks["tests.noop"].delay()
    later = tasks["tests.noop"].apply_async(countdown=600)
    later.revoke()
    assert app.control.inspect([worker.node], timeout=5).active() is not None
    assert app.control.purge() >= 0


def test_everything_in_redis_begins_with_the_prefix(
    private_valkey: ValkeyServer, postgres_url: str, tmp_path: Path, start_worker: Any, stack: ExitStack
) -> None:
    settings: dict[str, object] = {"prefix": PREFIX, "data_dir": tmp_path, "retry_base": 0.05}
    env = environment(private_valkey.url(), postgres_url, settings)
    app = stack.enter_context(producing(private_valkey.url(), postgres_url, prefix=PREFIX))
    monitor = stack.enter_context(Monitor(private_valkey))
    worker = start_worker(private_valkey.url(), postgres_url, settings=settings, options=("-E",)).ready()
    start(stack, "beat", env=env)
    port = free_port()
    start(stack, "flower", f"--port={port}", env=env)
    register("tick", "tests.noop", every=1, app=app)
    wait_until(lambda: worker.node in flower_workers(port), within=LONG, saying="Flower hears of the worker")
    a_bit_of_everything(app, worker)
    with private_valkey.client() as client:
        client.lpush(f"{PREFIX}normal", "garbage")
        wait_until(lambda: failed(app), within=LONG, saying="garbage is a dead letter")
        wait_until(
            lambda: client.exists(f"{PREFIX}celeriac:redbeat::lock"), within=LONG, saying="a beat leads"
        )
        assert {one.check: one.sentence for one in examine(app) if str(one.level) == "fail"} == {}
        named = monitor.names()
        found = named | set(client.scan_iter(count=1000))
    names = {name.decode(errors="replace") for name in found} - {LOOKED_FOR}
    assert {name for name in names if not name.startswith(PREFIX)} == set()
    assert {f"{PREFIX}normal", f"{PREFIX}celeriac:workers", f"{PREFIX}celeriac:redbeat::lock"} <= names
    assert any("celery-task-meta-" in name for name in names)
    assert any("pidbox" in name for name in names)
    assert any("celeryev" in name for name in names)
    drawn = {words[0] for words in monitor.commands() if f"{PREFIX}normal".encode() in words}
    assert b"BLMPOP" in drawn  # with room for one it is BRPOP, so their numbers say nothing


@pytest.mark.slow
def test_two_installations_on_one_database_share_nothing(
    private_valkey: ValkeyServer,
    postgres_url: str,
    sqlite_url: str,
    tmp_path: Path,
    start_worker: Callable[..., Worker],
    stack: ExitStack,
) -> None:
    """Under load: nothing is lost, nothing is mixed, and control and events of one do not reach the other."""
    broker, count = private_valkey.url(), 400
    ledgers = {"": postgres_url, "shop:": sqlite_url}
    apps, workers, witnesses, ports = {}, {}, {}, {}
    for prefix, ledger in ledgers.items():
        settings: dict[str, object] = {"prefix": prefix, "data_dir": tmp_path / (prefix or "none")}
        apps[prefix] = stack.enter_context(producing(broker, ledger, prefix=prefix))
        workers[prefix] = [
            start_worker(broker, ledger, settings=settings, options=("-E",)).ready() for _ in range(2)
        ]
        witnesses[prefix], ports[prefix] = Witness(tmp_path / f"{prefix}marks"), free_port()
        flower = f"--port={ports[prefix]}"
        start(stack, "flower", flower, env=environment(broker, ledger, settings))
    ids: dict[str, set[str]] = {prefix: set() for prefix in ledgers}
    for _ in range(count):
        for prefix, app in apps.items():
            task = app.tasks["tests.witness"]
            ids[prefix].add(str(task.delay(witnesses[prefix].path).id))
    for prefix, app in apps.items():
        wait_until(lambda app=app: all_ended(app), within=LONG, saying=f"the jobs of {prefix!r} end")
        assert {str(each.id) for each in jobs(app=app, limit=1000)} == ids[prefix]
        assert {each.state for each in jobs(app=app, limit=1000)} == {JobState.COMPLETED}
        assert set(witnesses[prefix].ends()) == ids[prefix]
        assert witnesses[prefix].doubled() == {}
        nodes = {worker.node for worker in workers[prefix]}
        assert {name for reply in app.control.ping(timeout=3) for name in reply} == nodes
        wait_until(
            lambda prefix=prefix: flower_workers(ports[prefix]),  # type: ignore[misc]
            within=LONG,
            saying="Flower hears of workers",
        )
        assert flower_workers(ports[prefix]) <= nodes
        sentences = [one.sentence for one in examine(app) if one.check in ("neighbours", "installations")]
        other = "none" if prefix else "shop:"
        assert sentences == [
            f"nothing is shared with other installations on this Redis database, of the prefixes: {other}"
        ]
    for each in (worker for some in workers.values() for worker in some):
        assert "another ledger" not in each.log
        assert "does not have" not in each.log


def test_a_worker_says_that_another_installation_uses_its_lists(
    private_valkey: ValkeyServer, postgres_url: str, sqlite_url: str, start_worker: Callable[..., Worker]
) -> None:
    broker = private_valkey.url()
    mine = start_worker(broker, postgres_url, concurrency=1).ready()
    with producing(broker, sqlite_url) as other:
        id = str(other.tasks["tests.add"].delay(1, 1).id)
        start_worker(broker, sqlite_url, concurrency=1, options=("-Q", "low")).ready()
        mine.logged("workers of another ledger draw from the same lists", within=LONG)
        mine.logged("dropped messages of 1 jobs that the ledger does not have, one of tests.add", within=LONG)
        assert job(id, app=other).state is JobState.PENDING
