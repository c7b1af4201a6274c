"""Two apps of two projects on one Redis database and in one PostgreSQL database, under load."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from celeriac import Celeriac
from celeriac.ledger import migrate
from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate import overview
from tests.workers import CeleryProcess, environment

#: Both projects have a task of the same name, which says whose worker has run it.
PROJECT = """
from celeriac import Celeriac

app = Celeriac("{name}")

@app.task(name="work.done", max_tries=1)
def done(number):
    return ["{name}", number]
"""

NAMES = ("shop", "mail")
JOBS = 300  # of each app
SENDERS = 3


class ProjectWorker(CeleryProcess):
    def __init__(self, project: str, **options: object) -> None:
        self._project = project
        super().__init__("worker", ["-c", "2"], **options)  # type: ignore[arg-type]

    def _words(self, command: str) -> tuple[str, ...]:
        return ("celery", "-A", self._project, command)


@pytest.fixture
def apps(
    redis_url: str, bare_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Celeriac]]:
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    made = {
        name: Celeriac(
            name,
            broker=redis_url,
            ledger=bare_postgres_url,
            celeriac_prefix=f"{name}:",
            celeriac_schema=name,
            set_as_current=False,
        )
        for name in NAMES
    }
    for app in made.values():
        migrate.upgrade(app.settings.database, schema=app.settings.database_schema)
    yield made
    for app in made.values():
        app.database.close()
        app.close()


def done(number: int) -> None:
    """Runs in the workers, as their own."""


def send(app: Celeriac, numbers: range, sent: dict[int, str]) -> None:
    task = app.tasks["work.done"]
    for number in numbers:
        sent[number] = task.delay(number).id


def test_nothing_is_lost_and_nothing_is_mixed(
    apps: dict[str, Celeriac], redis_url: str, bare_postgres_url: str, tmp_path: Path
) -> None:
    sent: dict[str, dict[int, str]] = {name: {} for name in NAMES}
    with ExitStack() as stack:
        for name, app in apps.items():
            (tmp_path / f"{name}.py").write_text(PROJECT.format(name=name))
            app.task(name="work.done", shared=False)(done)
            app.finalize()
            path = os.pathsep.join((str(tmp_path), *sys.path))
            settings = {"PYTHONPATH": path, "prefix": f"{name}:", "schema": name}
            env = environment(redis_url, bare_postgres_url, settings)
            stack.enter_context(ProjectWorker(name, env=env))
        step = JOBS // SENDERS
        senders = [
            Thread(target=send, args=(app, range(start, start + step), sent[name]))
            for name, app in apps.items()
            for start in range(0, JOBS, step)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        for name, app in apps.items():
            results = {number: app.AsyncResult(id).get(timeout=240) for number, id in sent[name].items()}
            assert results == {number: [name, number] for number in range(JOBS)}
    for app in apps.values():
        lines = overview.stats(Filter(), app=app)
        counted = {(line.task, line.state): line.jobs for line in lines}
        assert counted[None, None] == counted["work.done", JobState.COMPLETED] == JOBS
        assert pickle.loads(pickle.dumps(app)) is app
