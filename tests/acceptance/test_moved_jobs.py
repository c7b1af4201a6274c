"""A job that an operator moved runs where it was moved to, once, although its old message is still there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from celeriac.application import Celeriac
from celeriac.operate.acting import one_job
from celeriac.operate.acting.moving import checked
from celeriac.operate.actions import Actor, Via
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.support import wait_until
from tests.workers import Worker

ANN = Actor("ann", Via.CONSOLE)


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    given: dict[str, Any] = {"broker_url": redis_url, "database_url": database_url}
    made = build(Settings(**given, task_modules=("tests.jobs",)), set_as_current=False)
    yield made
    made.close()


def test_a_moved_job_runs_in_its_new_place_and_not_from_its_old_message(
    app: Celeriac, redis_url: str, database_url: str, start_worker: Callable[..., Worker]
) -> None:
    ids = [str(app.tasks["tests.echo"].apply_async((number,), queue="old").id) for number in range(5)]
    stays = str(app.tasks["tests.echo"].apply_async((9,), queue="old").id)
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.llen("old.normal") == 6
    for id in ids:
        assert one_job.act("move", id, by=ANN, options=checked(app, "new", "high"), app=app)
    old = start_worker(redis_url, database_url, options=["-Q", "old"]).ready()
    wait_until(lambda: job(stays, app=app).is_terminal, within=60, saying="the other job of the list ran")
    assert old.running
    assert {job(id, app=app).state for id in ids} == {"pending"}
    start_worker(redis_url, database_url, options=["-Q", "new"]).ready()
    wait_until(lambda: all(job(id, app=app).is_terminal for id in ids), within=60, saying="they ran")
    for id in ids:
        ran = job(id, app=app)
        assert (ran.state, ran.try_count, ran.queue, ran.priority) == ("completed", 1, "new.high", 20)
        assert ran.worker != job(stays, app=app).worker
