"""A pause with real workers: nothing of it starts, whatever befalls, and then all of it once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate import pauses
from celeriac.operate.actions import Actor, Via
from celeriac.operate.job import job, jobs
from celeriac.operate.overview import count_jobs
from celeriac.operate.pauses import PauseKind
from tests.producers import producing
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

ANN = Actor("ann", Via.CLI)


class Office:
    """Who enqueues and who pauses, and what was begun."""

    def __init__(self, app: Celeriac, path: Path) -> None:
        self.app = app
        self.path = str(path / "witness")
        self.witness = Witness(self.path)

    def send(self, count: int, *, queue: str = "low") -> list[str]:
        task = self.app.tasks["tests.witness"]
        return [task.apply_async((self.path,), queue=queue).id for _ in range(count)]

    def pause(self, name: str, kind: PauseKind = PauseKind.QUEUE) -> None:
        assert name in pauses.pause(kind, name, actor=ANN, reason="smtp is down", app=self.app)

    def resume(self, name: str, kind: PauseKind = PauseKind.QUEUE) -> None:
        assert name in pauses.resume(kind, name, actor=ANN, app=self.app)

    def holds(self, count: int) -> None:
        wait_until(lambda: self.held == count, within=30, saying=f"{count} jobs are held")

    @property
    def held(self) -> int:
        return count_jobs(app=self.app).held

    def pause_and_see(self, name: str) -> int:
        """Pause a queue, and enqueue until a job is held; return how many are."""
        self.pause(name)

        def held() -> int:
            self.send(1)
            return self.held

        wait_until(held, within=10, saying="the worker obeys")
        wait_until(lambda: count_jobs(app=self.app).due == 0, within=10, saying="all others have begun")
        return self.held

    def completes(self, ids: list[str]) -> None:
        def completed() -> bool:
            return all(job(id, app=self.app).state is JobState.COMPLETED for id in ids)

        wait_until(completed, within=60, saying=f"{len(ids)} jobs are completed")

    def started(self, ids: list[str]) -> int:
        starts = self.witness.starts()
        return sum(starts[id] for id in ids)


@pytest.fixture
def office(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Office]:
    with producing(redis_url, database_url) as app:
        yield Office(app, tmp_path)


@pytest.fixture
def start(start_worker: Callable[..., Worker], redis_url: str, database_url: str) -> Callable[[], Worker]:
    return lambda: start_worker(redis_url, database_url).ready()


@pytest.mark.slow
def test_a_pause_outlives_workers_and_redis(
    office: Office, start: Callable[[], Worker], redis_url: str
) -> None:
    worker = start()
    held = office.pause_and_see("low")
    first = office.send(300)
    urgent = office.send(3, queue="critical")
    office.completes(urgent)
    office.holds(held + 300)

    worker.kill()
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.flushdb()
    second = office.send(20)  # sent while no worker is there
    worker = start()
    office.completes(office.send(3, queue="critical"))
    office.holds(held + 320)
    assert office.started(first + second) == 0

    office.resume("low")
    office.completes(first + second)
    assert office.started(first + second) == 320
    assert office.witness.doubled() == {}
    assert office.held == 0
    assert worker.running


@pytest.mark.slow
def test_a_task_is_paused_in_every_queue(office: Office, start: Callable[[], Worker]) -> None:
    office.pause("tests.witness", PauseKind.TASK)
    start()
    waiting = [*office.send(5), *office.send(5, queue="critical")]
    other = office.app.tasks["tests.echo"].apply_async((1,), queue="low").id
    office.completes([other])
    office.holds(10)
    assert office.started(waiting) == 0
    office.resume("tests.witness", PauseKind.TASK)
    office.completes(waiting)


@pytest.mark.slow
def test_a_schedule_that_runs_now_makes_a_job_that_waits(office: Office, start: Callable[[], Worker]) -> None:
    office.pause("low")
    start()
    schedules.register(
        "nightly", "tests.witness", every=3600, args=[office.path], queue="low", app=office.app
    )
    id = schedules.run_now("nightly", app=office.app)
    office.holds(1)
    assert job(id, app=office.app).state is JobState.PENDING
    office.resume("low")
    office.completes([id])
    assert len(jobs(limit=10, app=office.app)) == 1
