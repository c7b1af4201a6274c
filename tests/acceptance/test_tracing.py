"""Traces of real processes: a producer, workers, and a collector that they send their spans to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.operate.job import Job, job, jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.conftest import _postgres_copy
from tests.otlp import Collector, Span
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker, celery, environment

LONG = 60.0  # seconds: more than anything here takes, on a busy machine
SECRET = "hunter2"


class House:
    """One broker, one ledger, and processes of which each is traced under its own name."""

    def __init__(self, broker: str, database: str, stack: ExitStack) -> None:
        self.app: Celeriac = build(Settings(broker_url=broker, database_url=database), set_as_current=False)
        stack.callback(self.app.database.close)
        self._places = (broker, database)
        self._stack = stack
        self._collector = stack.enter_context(Collector())

    def enqueue(self, task: str, *args: Any) -> str:
        """The id of a job that a process of its own enqueues, and then ends."""
        told = self._collector.environment("producer", delay=60)
        env = environment(*self._places, told | {"task_modules": "tests.jobs"})
        words = ("jobs", "enqueue", f"tests.{task}", "--json-file", "-", "--json")
        ended = celery(*words, env=env, typed=json.dumps({"args": args}))
        assert ended.returncode == 0, ended.stderr
        return str(json.loads(ended.stdout)["id"])

    def worker(self, name: str, *, delay: float = 0.05, **options: Any) -> Worker:
        settings = {"retry_base": 0.05, "heartbeat": 0.5, "worker_timeout": 2}
        told = self._collector.environment(name, delay=delay)
        worker = Worker(*self._places, settings=settings | told, **options)
        return self._stack.enter_context(worker).ready()

    def run(self, task: str, *args: Any) -> str:
        """The id of a job that was enqueued and is completed."""
        id = self.enqueue(task, *args)
        assert self.ended(id).state is JobState.COMPLETED
        return id

    def ended(self, id: str) -> Job:
        wait_until(lambda: self._job(id).state in TERMINAL, within=LONG, saying=f"job {id} is terminal")
        return self._job(id)

    def _job(self, id: str) -> Job:
        return job(id, app=self.app)

    def below(self, id: str, count: int) -> list[Job]:
        """The jobs that a job led to, the earliest first, once they are so many and ended."""
        wait_until(lambda: len(self._below(id)) == count, within=LONG, saying=f"{count} jobs below {id}")
        return [self.ended(found.id) for found in self._below(id)]

    def _below(self, id: str) -> list[Job]:
        return [found for found in jobs(app=self.app)[::-1] if found.root_id == id != found.id]

    def spans(self, id: str, count: int) -> list[Span]:
        """The spans of a job, once there are so many: its enqueue, then its attempts."""
        wait_until(lambda: len(self._collector.of(id)) >= count, within=LONG, saying=f"{count} spans of {id}")
        found = self._collector.of(id)
        assert len(found) == count
        return found


@pytest.fixture(scope="module")
def empty(
    valkey: str, _redis_databases: Iterator[int], postgres: str, _postgres_template: str
) -> Iterator[House]:
    """A house without a worker."""
    broker = urlsplit(valkey)._replace(path=f"/{next(_redis_databases)}").geturl()
    with ExitStack() as stack:
        client = stack.enter_context(closing(redis.Redis.from_url(broker)))
        client.flushdb()
        stack.callback(client.flushdb)
        yield House(broker, stack.enter_context(_postgres_copy(postgres, _postgres_template)), stack)


@pytest.fixture(scope="module")
def house(empty: House) -> House:
    """With a worker."""
    empty.worker("worker")
    return empty


@pytest.fixture
def own_house(redis_url: str, postgres_url: str) -> Iterator[House]:
    """Of this test alone, without a worker."""
    with ExitStack() as stack:
        yield House(redis_url, postgres_url, stack)


def test_every_attempt_is_a_child_of_its_enqueue(house: House) -> None:
    enqueue, first, second = house.spans(house.run("flaky", 1), 3)
    assert (enqueue.name, enqueue.service, enqueue.parent) == ("enqueue tests.flaky", "producer", "")
    assert {first.name, second.name} == {"attempt tests.flaky"}
    assert {first.service, second.service} == {"worker"}
    assert {first.trace, second.trace} == {enqueue.trace}
    assert {first.parent, second.parent} == {enqueue.id}
    assert (first.failed, first.attributes["celeriac.outcome"], first.events) == (
        True,
        "retry",
        ("exception",),
    )
    assert (second.failed, second.attributes["celeriac.outcome"], second.events) == (False, "success", ())
    assert [span.attributes["celeriac.attempt"] for span in (first, second)] == [1, 2]


def test_a_retry_with_other_arguments_stays_where_it_was(house: House) -> None:
    """Its message is a new one, made inside of the attempt before it."""
    enqueue, first, second = house.spans(house.run("retry_with", 1), 3)
    assert {first.parent, second.parent} == {enqueue.id}


def test_a_job_that_a_job_enqueues_is_below_its_attempt(house: House) -> None:
    id = house.run("spawn", 1)
    (child,) = house.below(id, 1)
    _, attempt = house.spans(id, 2)
    enqueue, below = house.spans(child.id, 2)
    assert (enqueue.trace, enqueue.parent) == (attempt.trace, attempt.id)
    assert (below.trace, below.parent) == (attempt.trace, enqueue.id)


def test_what_follows_in_a_chain_is_below_what_went_before(house: House) -> None:
    """Celery sends the next job when the task has returned already."""
    one, other = house.below(house.run("spawn_chain"), 2)
    _, attempt = house.spans(one.id, 2)
    enqueue, below = house.spans(other.id, 2)
    assert (enqueue.parent, below.parent) == (attempt.id, enqueue.id)
    assert {enqueue.trace, below.trace} == {attempt.trace}


def test_an_attempt_whose_child_died_has_no_span(house: House) -> None:
    """And the next one is where it would have been."""
    enqueue, attempt = house.spans(house.run("kill_once"), 2)
    assert (attempt.parent, attempt.attributes["celeriac.attempt"]) == (enqueue.id, 2)


def test_arguments_and_results_are_in_no_span(house: House) -> None:
    for span in house.spans(house.run("echo", SECRET), 2):
        assert SECRET not in span.raw


def test_an_attempt_after_a_workers_death_is_in_the_trace(own_house: House, tmp_path: Path) -> None:
    path = tmp_path / "witness"
    first = own_house.worker("first", concurrency=1)
    id = own_house.enqueue("hang_once", str(path))
    wait_until(Witness(path).starts, within=LONG, saying="it has begun")
    first.kill()
    own_house.worker("second")
    assert own_house.ended(id).state is JobState.COMPLETED
    enqueue, attempt = own_house.spans(id, 2)
    assert (attempt.trace, attempt.parent) == (enqueue.trace, enqueue.id)
    assert (attempt.service, attempt.attributes["celeriac.attempt"]) == ("second", 2)


def test_a_child_that_ends_sends_what_it_has(own_house: House) -> None:
    worker = own_house.worker("worker", delay=60)
    id = own_house.run("noop")
    worker.term()
    worker.wait(LONG)
    assert len(own_house.spans(id, 2)) == 2


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_other_pools_are_traced(own_house: House, pool: str) -> None:
    own_house.worker("worker", pool=pool)
    enqueue, first, second = own_house.spans(own_house.run("flaky", 1), 3)
    assert {first.parent, second.parent} == {enqueue.id}
