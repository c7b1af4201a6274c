"""Apps that never imported ours send to Celery's default queue: their jobs run, doctor says whose."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.operate.doctor import examine
from celeriac.operate.job import Job, jobs
from celeriac.settings import Settings
from tests.apps import build
from tests.support import wait_until
from tests.workers import ROOT, Worker, environment

SHOP = """
from celery import shared_task

@shared_task(name="shop.charge")
def charge(order):
    return order
"""

#: In another process, which imports nothing but the module of its tasks.
SENDS = """
from shop import charge
charge.delay(1)
charge.apply_async((2,), priority=5)
"""


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = build(Settings(broker_url=redis_url, database_url=database_url), set_as_current=False)
    with closing(made.database):
        yield made
        made.close()


def test_what_a_process_without_the_app_sends_is_adopted_and_told(
    app: Celeriac, redis_url: str, database_url: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    """Its .delay() goes through Celery's default app, to the list "celery" and to one for its priority."""
    (tmp_path / "shop.py").write_text(SHOP)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    env = environment(redis_url, database_url, {"PYTHONPATH": path, "task_modules": "shop"})
    subprocess.run([sys.executable, "-c", SENDS], cwd=tmp_path, env=env, check=True, timeout=60)
    worker = start_worker(
        redis_url,
        database_url,
        settings={"PYTHONPATH": path, "task_modules": "shop"},
        options=("-Q", "normal"),
        concurrency=1,
    ).ready()

    def ended() -> list[Job]:
        assert worker.running
        return [each for each in jobs(app=app) if each.state in TERMINAL]

    found = wait_until(lambda: len(ended()) == 2 and ended(), within=60, saying="both jobs are adopted")
    assert {(each.queue, each.state, each.result) for each in found} == {
        ("celery", JobState.COMPLETED, 1),
        ("celery", JobState.COMPLETED, 2),
    }
    told = {one.check: one.sentence for one in examine(app) if one.area == "broker"}
    assert told["adopted"].startswith(
        "2 jobs of the last day came from apps that do not know the ledger: shop.charge"
    )
    assert "lists" not in told
    assert "installations" not in told  # the worker is this ledger's own
