"""The first broker of a list dies: its worker goes on with the second, and keeps the transport of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tests.jobs  # noqa: F401
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.servers import ValkeyServer
from tests.support import wait_until
from tests.workers import Worker

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def test_work_goes_on_with_the_second_broker(
    private_valkey: ValkeyServer, sqlite_url: str, start_worker: Callable[..., Worker]
) -> None:
    with ValkeyServer() as first:
        brokers = f"{first.url()};{private_valkey.url()}"
        settings = Settings(broker_url=brokers, database_url=sqlite_url, task_modules=("tests.jobs",))
        app = build(settings, set_as_current=False)

        def completes() -> None:
            id = app.tasks["tests.echo"].delay(1).id
            done = lambda: job(id, app=app).state is JobState.COMPLETED  # noqa: E731
            wait_until(done, within=60, saying="the job is completed")

        try:
            worker = start_worker(brokers, sqlite_url, concurrency=1).ready()
            completes()
            first.kill()
            completes()
            with private_valkey.client() as client:
                client.lpush("normal", "garbage")
            completes()
            wait_until(lambda: job_count(private_valkey) == 0, within=60, saying="the garbage is drawn")
            assert worker.running
            with private_valkey.client() as client:
                assert not [key for key in client.scan_iter() if key.startswith(b"unacked")]
        finally:
            app.close()


def job_count(server: ValkeyServer) -> int:
    with server.client() as client:
        return int(client.llen("normal"))
