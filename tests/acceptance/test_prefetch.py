"""How many messages a worker holds: as many as its jobs are short."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
import redis

from celeriac.application import Celeriac
from celeriac.operate.job import Job, job
from tests.support import wait_until
from tests.witness import END, START, Witness
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine


def test_while_jobs_are_long_an_autoscaled_pool_grows_and_the_most_important_is_next(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    witness, task = Witness(tmp_path / "witness"), producer.tasks["tests.witness"]
    start_worker(redis_url, postgres_url, options=["--autoscale=2,1"]).ready()
    for _ in range(6):
        task.delay(witness.path, 3)
    wait_until(lambda: len(witness.starts()) == 2, within=LONG, saying="both children have work")
    assert len({mark.pid for mark in witness.marks()}) == 2, "it has grown, and not gone on with one child"
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.llen("normal") == 4
        urgent = task.apply_async((witness.path, 0), priority="critical").id
        wait_until(lambda: urgent in witness.starts(), within=LONG, saying="the urgent one runs")
    begun = [mark.job_id for mark in witness.marks() if mark.event == START]
    assert begun.index(urgent) <= 3  # at most one other, of the other child, came between


def test_while_jobs_are_short_more_are_held(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker(redis_url, postgres_url).ready()
    task = producer.tasks["tests.noop"]

    def prefetch() -> int:
        for _ in range(30):
            task.delay()
        found = producer.control.inspect(timeout=2).stats() or {}
        return int(found[worker.node]["prefetch_count"]) if worker.node in found else 0

    wait_until(lambda: prefetch() > 20, within=LONG, saying="the worker holds more than it has children")


def test_a_number_that_is_set_is_kept(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    witness, task = Witness(tmp_path / "witness"), producer.tasks["tests.witness"]
    start_worker(redis_url, postgres_url, settings={"prefetch": 2}).ready()
    for _ in range(6):
        task.delay(witness.path, 3)
    wait_until(lambda: len(witness.starts()) == 2, within=LONG, saying="both children have work")
    with closing(redis.Redis.from_url(redis_url)) as client:
        wait_until(lambda: client.llen("normal") == 2, within=LONG, saying="two are held for each child")


@pytest.mark.parametrize("pool", ["burst", "prefork", "gevent"])
def test_a_lone_job_runs_at_once(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], pool: str
) -> None:
    """The event loop sleeps until an event: a job that was won by another thread must be one.

    Green threads have no loop: what makes room for the next message must be noticed while they wait.
    """
    start_worker(redis_url, postgres_url, pool=pool, concurrency=1).ready()
    took = []
    for _ in range(15):
        found = ended(producer, producer.tasks["tests.noop"].delay().id)
        assert found.finished is not None
        took.append((found.finished - found.queued).total_seconds())
    assert median(took) < 0.5  # it waited for a timer, up to a second or two


def ended(app: Celeriac, id: str) -> Job:
    wait_until(lambda: job(id, app=app).is_terminal, within=LONG, saying="it has run")
    return job(id, app=app)


def test_a_solo_worker_goes_on_with_the_next_at_once(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    witness, task = Witness(tmp_path / "witness"), producer.tasks["tests.witness"]
    for _ in range(9):
        task.delay(witness.path, 0.25)
    start_worker(redis_url, postgres_url, pool="solo").ready()
    wait_until(lambda: witness.ends().total() == 9, within=LONG, saying="all have run")
    marks = witness.marks()
    between = [next.at - last.at for last, next in pairwise(marks) if last.event == END]
    assert len(between) == 8
    assert median(between) < 0.5  # it slept until a timer woke it, once a second
