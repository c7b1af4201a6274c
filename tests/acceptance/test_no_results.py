"""``result_backend="disabled"`` on real workers: jobs run and are on record, no return value is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis
from celery import chain, chord, group
from celery.canvas import Signature

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.doctor import broker_check
from celeriac.operate.job import Job, job, jobs
from tests.producers import producing
from tests.support import wait_until
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine


@pytest.fixture(scope="module")
def app(module_redis_url: str, module_postgres_url: str) -> Iterator[Celeriac]:
    with producing(module_redis_url, module_postgres_url, result_backend="disabled") as app:
        yield app


@pytest.fixture(scope="module")
def worker(
    start_module_worker: Callable[..., Worker], module_redis_url: str, module_postgres_url: str
) -> Worker:
    settings = {"CELERY_RESULT_BACKEND": "disabled://", "retry_base": 0.05}
    return start_module_worker(module_redis_url, module_postgres_url, settings=settings).ready()


def ended(app: Celeriac, id: str) -> Job:
    wait_until(lambda: job(id, app=app).is_terminal, within=LONG, saying=f"{id} has ended")
    return job(id, app=app)


def add(app: Celeriac, *numbers: int) -> Signature:
    return app.tasks["tests.add"].signature(numbers)


def test_a_job_is_on_record_and_its_value_is_not(
    app: Celeriac, worker: Worker, module_redis_url: str
) -> None:
    result = app.tasks["tests.add"].delay(1, 2)
    found = ended(app, result.id)
    assert (found.state, found.result, found.result_lost) == (JobState.COMPLETED, None, False)
    assert (result.state, result.ready(), result.successful(), result.result) == ("SUCCESS", True, True, None)
    with closing(redis.Redis.from_url(module_redis_url)) as client:
        assert not list(client.scan_iter("*celery-task-meta*"))
    assert worker.log.count("disabled://") == 1  # in the banner


def test_a_failure_is_answered_from_the_ledger(app: Celeriac, worker: Worker) -> None:
    result = app.tasks["tests.fail"].apply_async(("broken",), max_tries=2)
    assert ended(app, result.id).try_count == 2
    assert (result.state, result.failed(), str(result.result)) == ("FAILURE", True, "broken")


def test_a_chain_and_a_group_run(app: Celeriac, worker: Worker) -> None:
    steps = chain(add(app, 1, 2), add(app, 3)).apply_async()
    wait_until(lambda: steps.ready(), within=LONG, saying="the chain has ended")
    assert (steps.state, steps.parent.state) == ("SUCCESS", "SUCCESS")
    members = group(add(app, 1, 2), add(app, 3, 4)).apply_async()
    wait_until(members.ready, within=LONG, saying="the group has ended")
    assert members.successful()


def test_waiting_for_a_value_is_refused(app: Celeriac) -> None:
    one = app.tasks["tests.add"].apply_async((1, 2), countdown=600)
    several = group(add(app, 1, 2), add(app, 3, 4)).apply_async(countdown=600)
    assert (one.state, app.AsyncResult("not-there").state) == ("PENDING", "UNKNOWN")
    for wait in (one.get, several.get, several.join, several.join_native):
        with pytest.raises(NotImplementedError, match="result_backend is disabled: no return value is kept"):
            wait(timeout=LONG)


def test_a_chord_is_refused_whole(app: Celeriac) -> None:
    total = app.tasks["tests.total"].s()
    members = group(add(app, 1, 2), add(app, 3, 4))
    before = len(jobs(app=app))
    for refused in (chord(members, total), members | total, add(app, 1, 2) | members | total):
        with pytest.raises(NotImplementedError, match="chords requires a result backend"):
            refused.apply_async()
    assert len(jobs(app=app)) == before


def test_the_doctor_does_not_ask_a_store_that_is_to_be_none(app: Celeriac) -> None:
    assert broker_check.read(app).results is None
