"""What a worker's receivers and its command line say of the configuration, in real workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.support import wait_until
from tests.workers import CeleryProcess, environment

#: Another project's app, with receivers; what they do is in the environment.
PROJECT = """
import os
from celery.signals import celeryd_init, worker_init, worker_ready
from celeriac import Celeriac

app = Celeriac("shop")
written = []

@app.task(name="shop.told", bind=True)
def told(self):
    conf = self.app.conf
    limits = [self.rate_limit, conf.task_compression, self.app.settings.max_tries]
    return [*limits, conf.worker_concurrency]

def writes(name):
    def write(**_):
        exec(os.environ.get(name, ""), {"conf": app.conf})
    return write

for signal, name in ((celeryd_init, "TEAM_INIT"), (worker_init, "TEAM_WORKER"), (worker_ready, "TEAM_READY")):
    written.append(writes(name))
    signal.connect(written[-1])
"""


class ShopWorker(CeleryProcess):
    def _words(self, command: str) -> tuple[str, ...]:
        return ("celery", "-A", "shop", command)


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = build(Settings(broker_url=redis_url, database_url=database_url), set_as_current=False)
    with closing(made.database):
        yield made
        made.close()


def shop(tmp_path: Path, redis_url: str, database_url: str, *arguments: str, **team: str) -> ShopWorker:
    (tmp_path / "shop.py").write_text(PROJECT)
    env = environment(
        redis_url, database_url, {"PYTHONPATH": os.pathsep.join((str(tmp_path), *sys.path)), **team}
    )
    return ShopWorker("worker", ["--pool", "solo", "-l", "INFO", *arguments], env=env)


def test_what_receivers_and_the_command_line_set_is_in_force(
    app: Celeriac, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    worker = shop(
        *(tmp_path, redis_url, database_url, "--", "celeriac.max_tries=7", "worker.concurrency=3"),
        TEAM_INIT="conf.task_default_rate_limit = '77/s'",
        TEAM_WORKER="conf.task_compression = 'gzip'",
    )

    @app.task(name="shop.told", shared=False)
    def told() -> None:
        """Runs in the worker, as its own."""

    with worker:
        id = told.delay().id
        wait_until(lambda: job(id, app=app).state is JobState.COMPLETED, within=120, saying="the job ran")
    assert job(id, app=app).result == ["77/s", "gzip", 7, "3"]


@pytest.mark.parametrize(
    ("receiver", "written", "told"),
    [
        ("TEAM_INIT", "conf.task_acks_late = False", "task_acks_late: found False"),
        ("TEAM_WORKER", "conf.worker_concurrency = 9", "worker_concurrency: the worker has read it"),
        ("TEAM_WORKER", "conf.update(worker_direct=True)", "worker_direct: found True"),
    ],
)
def test_a_worker_does_not_start_with_what_a_receiver_may_not_set(
    receiver: str, written: str, told: str, redis_url: str, database_url: str, app: Celeriac, tmp_path: Path
) -> None:
    with shop(tmp_path, redis_url, database_url, **{receiver: written}) as worker:
        assert worker.wait(120) == 1
        assert "celery: the settings have a problem" in worker.log
        assert told in worker.log


def test_what_is_written_when_the_worker_runs_is_refused_by_name(
    app: Celeriac, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    with shop(tmp_path, redis_url, database_url, TEAM_READY="conf.broker_url = 'redis://late/0'") as worker:
        worker.logged("broker_url: it is read when a worker or a beat starts, and one runs", within=120)
        assert worker.running
