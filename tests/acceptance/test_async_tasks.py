"""Asynchronous tasks on real workers: many on one event loop, and what a soft time limit is to them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from celeriac import Celeriac
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job, job
from tests.support import wait_until
from tests.workers import Worker

MEET, LONG = 12, 60.0


@pytest.fixture
def app(redis_url: str, postgres_url: str) -> Celeriac:
    return Celeriac("async", broker=redis_url, ledger=postgres_url, set_as_current=False)


def enqueue(app: Celeriac, task: str, *args: object, **options: object) -> str:
    return str(app.send_task(task, args, max_tries=1, **options).id)


def ended(app: Celeriac, id: str) -> Job:
    wait_until(lambda: job(id, app=app).is_terminal, within=LONG, saying=f"job {id} ends")
    return job(id, app=app)


def test_as_many_run_on_one_loop_as_there_are_threads(
    app: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    start_worker(
        redis_url, postgres_url, pool="threads", concurrency=MEET, include="tests.async_jobs"
    ).ready()
    app.conf.celeriac_foreign_tasks = ["tests.*"]
    with closing(app):
        ids = [enqueue(app, "tests.meet", MEET) for _ in range(MEET)]
        assert [ended(app, id).result for id in ids] == ids


def test_a_soft_time_limit_cancels_the_coroutine(
    app: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    start_worker(redis_url, postgres_url, concurrency=2, include="tests.async_jobs").ready()
    app.conf.celeriac_foreign_tasks = ["tests.*"]
    with closing(app):
        ids = [enqueue(app, "tests.tidy", how, soft_time_limit=1) for how in ("returns", "raises", "no")]
        tidied, raised, cancelled = (ended(app, id) for id in ids)
    assert (tidied.state, tidied.result) == (JobState.COMPLETED, "tidied up")
    assert (raised.state, cancelled.state) == (JobState.FAILED, JobState.FAILED)
    assert "cannot tidy up" in str(raised.failure_info)
    assert "SoftTimeLimitExceeded" in str(cancelled.failure_info)
