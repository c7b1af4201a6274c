"""The broker dies and another takes over: with Sentinel, and with a list of addresses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import tests.jobs  # noqa: F401
from celeriac import Celeriac
from celeriac.broker.sentinel import SentinelTransport
from celeriac.broker.transport import Transport
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.operate.doctor import examine
from celeriac.operate.job import jobs
from celeriac.schedules import register
from celeriac.task.results.stores import SentinelResultBackend
from tests.producers import producing
from tests.servers import SentinelGroup, ValkeyServer
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import CeleryProcess, Worker, environment

LONG = 60.0
APP = "tests.sentinel_app"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class Producer:
    """Enqueues one job after the other, in a thread, until it is told to stop."""

    def __init__(self, app: Celeriac, witness: Witness) -> None:
        self._task = app.tasks["tests.witness"]
        self._witness = witness
        self._ended = threading.Event()
        self.ids: list[str] = []
        self._thread = threading.Thread(target=self._run, name="test-producer")

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            self.ids.append(str(self._task.delay(self._witness.path).id))

    def wait_for(self, more: int) -> None:
        """Wait until so many jobs that were enqueued from now on have ended."""
        wanted = len(self.ids) + more
        wait_until(lambda: len(self.ids) >= wanted, within=LONG, saying="jobs are accepted")
        last = set(self.ids[wanted - more : wanted])
        wait_until(lambda: last <= set(self._witness.ends()), within=LONG, saying="the newest jobs end")

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(30)

    @contextmanager
    def enqueuing(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self.stop()


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    with SentinelGroup() as made:
        yield made


@pytest.fixture
def shop(group: SentinelGroup, postgres_url: str, tmp_path: Path) -> Iterator[Celeriac]:
    made = Celeriac(
        "app",
        broker=group.url(),
        ledger=postgres_url,
        broker_transport_options=group.options,
        celeriac_data_dir=tmp_path,
        set_as_current=False,
    )
    yield made
    made.close()


def all_ended(app: Celeriac, task: str) -> bool:
    return all(each.state in TERMINAL for each in _of(app, task))


def _of(app: Celeriac, task: str) -> list[Any]:
    return jobs(task=task, app=app, limit=1000)


def ran_once(app: Celeriac, producer: Producer, witness: Witness) -> None:
    """No job is lost, and no attempt ran twice: nobody but the broker died."""
    wait_until(lambda: all_ended(app, "tests.witness"), within=LONG, saying="every job ends")
    found = _of(app, "tests.witness")
    assert {str(each.id) for each in found} == set(producer.ids)
    assert {each.state for each in found} == {JobState.COMPLETED}
    assert set(witness.ends()) == set(producer.ids)
    assert witness.doubled() == {}


def is_drawn_by_our_transport(server: ValkeyServer) -> None:
    """Many messages in one command, and no list of what is not acknowledged."""
    with server.client() as client:
        assert client.info("commandstats")["cmdstat_blmpop"]["calls"] > 1
        assert [key for key in client.scan_iter() if key.startswith(b"unacked")] == []


def hears(app: Celeriac, node: str) -> None:
    """Remote control and events reach the worker and come from it."""
    wait_until(
        lambda: any(node in reply for reply in app.control.ping(timeout=1)), within=LONG, saying="it answers"
    )
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection)
        heard: list[str] = []

        def hear(event: dict[str, Any]) -> None:
            heard.append(event["hostname"])
            receiver.should_stop = True

        receiver.handlers["*"] = hear
        receiver.capture(timeout=LONG, wakeup=True)
    assert heard[0] == node


def leads(server: ValkeyServer) -> None:
    with server.client() as client:
        wait_until(lambda: client.exists("celeriac:redbeat::lock"), within=LONG, saying="a beat leads")


def findings(app: Celeriac) -> dict[str, str]:
    return {one.check: f"{one.level}: {one.sentence}" for one in examine(app) if one.area == "broker"}


def test_everything_goes_on_when_sentinel_makes_the_replica_the_master(
    group: SentinelGroup,
    shop: Celeriac,
    postgres_url: str,
    tmp_path: Path,
    start_worker: Callable[..., Worker],
    stack: ExitStack,
) -> None:
    settings = {"data_dir": tmp_path}
    worker = start_worker(group.url(), postgres_url, settings=settings, options=("-E",), app=APP).ready()
    env = environment(group.url(), postgres_url, settings)
    beat = stack.enter_context(CeleryProcess("beat", (), env=env, app=APP))
    leads(group.first)
    register("tick", "tests.noop", every=1, app=shop)
    witness = Witness(tmp_path / "marks")
    producer = Producer(shop, witness)
    assert findings(shop)["sentinels"] == "ok: 3 of 3 sentinels answer"
    with producer.enqueuing():
        producer.wait_for(30)
        running = shop.tasks["tests.sleep"].delay(3)
        group.first.kill()
        assert running.get(timeout=LONG) == 3
        wait_until(group.failed_over, within=LONG, saying="the replica is the master")
        producer.wait_for(30)
    ran_once(shop, producer, witness)
    is_drawn_by_our_transport(group.second)
    hears(shop, worker.node)
    assert shop.tasks["tests.add"].delay(2, 3).get(timeout=LONG) == 5
    assert isinstance(shop.backend, SentinelResultBackend)
    with shop.connection_or_acquire() as connection:
        assert type(connection.transport) is SentinelTransport
        assert connection.as_uri().startswith("sentinel://")
    ticks = len(_of(shop, "tests.noop"))
    wait_until(lambda: len(_of(shop, "tests.noop")) > ticks, within=LONG, saying="the beat goes on")
    leads(group.second)
    assert (worker.running, beat.running) == (True, True)
    assert "Connection to broker lost" in worker.log
    assert "Unrecoverable" not in worker.log
    group.sentinels[0].kill()
    assert findings(shop)["sentinels"] == "warn: 2 of 3 sentinels answer"


def test_a_server_that_hangs_is_left_for_the_one_that_sentinel_chooses(
    group: SentinelGroup,
    shop: Celeriac,
    postgres_url: str,
    tmp_path: Path,
    start_worker: Callable[..., Worker],
) -> None:
    """Its connections stay open, and nobody answers."""
    settings = {"data_dir": tmp_path}
    worker = start_worker(group.url(), postgres_url, settings=settings, options=("-E",), app=APP).ready()
    witness = Witness(tmp_path / "marks")
    producer = Producer(shop, witness)
    with producer.enqueuing():
        producer.wait_for(10)
        group.first.freeze()
        group.sentinels[0].freeze()
        worker.logged("Connection to broker lost", within=LONG)
        producer.wait_for(10)
        hears(shop, worker.node)
        keys: list[str] = []

        def stored() -> bool:
            keys.append(f"celery-task-meta-{shop.tasks['tests.add'].delay(2, 3).id}")
            with group.second.client() as client:
                return bool(client.exists(*keys))

        wait_until(stored, within=LONG, saying="results are stored")
    ran_once(shop, producer, witness)
    is_drawn_by_our_transport(group.second)
    assert "Redis BRPOP got no reply" not in worker.log  # kombu's own answer to it, after half a minute


def test_a_worker_goes_to_the_next_broker_of_its_list(
    private_valkey: ValkeyServer, postgres_url: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    with ValkeyServer() as first:
        brokers, results = f"{first.url()};{private_valkey.url()}", private_valkey.url(1)
        settings = {"CELERY_RESULT_BACKEND": results, "data_dir": tmp_path}
        worker = start_worker(brokers, postgres_url, settings=settings, options=("-E",)).ready()
        with producing(brokers, postgres_url, result_backend=results) as app:
            witness = Witness(tmp_path / "marks")
            producer = Producer(app, witness)
            with producer.enqueuing():
                producer.wait_for(20)
                first.kill()
                producer.wait_for(30)
            ran_once(app, producer, witness)
            is_drawn_by_our_transport(private_valkey)
            hears(app, worker.node)
            assert app.tasks["tests.add"].delay(2, 3).get(timeout=LONG) == 5
            with app.connection_or_acquire() as connection:
                assert type(connection.transport) is Transport
