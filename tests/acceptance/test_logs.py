"""The log of a real worker: its lines name their jobs and hide what the jobs are about."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from celeriac.settings.platform import Settings
from tests.apps import build
from tests.support import wait_until
from tests.workers import Worker

NAME = "tests.echo"  # which returns its arguments
SECRET = "hunter2-is-secret"


@pytest.mark.parametrize("pool", ["burst", "prefork", "threads"])
def test_every_line_of_a_job_names_it_and_shows_no_payload(
    start_worker: Callable[..., Worker], redis_url: str, postgres_url: str, pool: str
) -> None:
    settings = {"log_format": "json"}
    worker = start_worker(
        redis_url, postgres_url, pool=pool, settings=settings, options=["--loglevel", "DEBUG"]
    ).ready()
    app = build(
        Settings(broker_url=redis_url, database_url=postgres_url, task_modules=("tests.jobs",)),
        set_as_current=False,
    )
    job = app.send_task(NAME, [SECRET, SECRET])

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("job") == job.id]

    wait_until(
        lambda: {"job_received", "job_succeeded"} <= {line.get("event") for line in lines()},
        within=20,
        saying="the job's lines are there",
    )
    for line in lines():
        assert (line["task"], line["attempt"]) == (NAME, 1), line
    assert SECRET not in worker.log
    app.database.close()
