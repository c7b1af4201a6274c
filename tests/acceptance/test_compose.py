"""The commands of docker-compose.yml, each run as it stands there, against real servers."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.processes import Process
from tests.servers import ValkeyServer, free_port
from tests.support import wait_until
from tests.test_compose import DOCKERFILE, SERVICES
from tests.workers import ROOT, CeleryProcess, environment

ENTRYPOINT = json.loads(re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[0])
Start = Callable[..., CeleryProcess]


class Service(CeleryProcess):
    """A service's own words, with servers and variables of the test's."""

    def __init__(self, name: str, env: dict[str, str], swap: dict[str, str] | None = None) -> None:
        assert ENTRYPOINT == ["celery", "-A", "app"]
        command, *words = [(swap or {}).get(word, word) for word in SERVICES[name]["command"]]
        theirs = {
            key: str(value) for key, value in SERVICES[name]["environment"].items() if "$" not in str(value)
        }
        super().__init__(command, words, env={**theirs, **env})


@pytest.fixture
def env(redis_url: str, postgres_url: str, tmp_path: Path) -> dict[str, str]:
    settings = {"data_dir": tmp_path, "task_modules": "tasks,tests.jobs"}
    return {
        key: value
        for key, value in environment(redis_url, postgres_url, settings).items()
        if not key.startswith("CELERIAC_LOG")
    }


def healthy(name: str, env: dict[str, str]) -> bool:
    _, program, *words = SERVICES[name]["healthcheck"]["test"]
    path = Path(sys.executable).with_name(program)
    return subprocess.run([path, *words], cwd=ROOT, env=env, capture_output=True, timeout=300).returncode == 0


def test_migrate_makes_the_tables_and_ends(redis_url: str, bare_postgres_url: str) -> None:
    env = environment(redis_url, bare_postgres_url)
    for _ in range(2):  # a second start finds nothing to do
        with Service("migrate", env) as migrate:
            assert migrate.wait(60) == 0
            assert "the ledger is at revision" in migrate.log


def test_a_worker_gives_running_jobs_their_time_at_its_end(env: dict[str, str]) -> None:
    app = build(
        Settings(
            broker_url=env["CELERY_BROKER_URL"],
            database_url=env["DATABASE_URL"],
            task_modules=("tests.jobs",),
        ),
        set_as_current=False,
    )
    with Service("worker", env) as worker:
        worker.logged(" ready.", within=30)
        wait_until(lambda: healthy("worker", env), within=20, saying="it is healthy")
        id = app.send_task("tests.sleep", [4]).id
        wait_until(lambda: job(id, app=app).state is JobState.RUNNING, within=20, saying="the job runs")
        worker.term()
        assert worker.wait(30) == 0
    assert (job(id, app=app).state, job(id, app=app).try_count) == (JobState.COMPLETED, 1)
    app.database.close()


def test_two_beats_are_healthy_and_one_leads(env: dict[str, str], tmp_path: Path) -> None:
    with Service("beat", env) as one:
        one.logged("Acquired lock", within=30)
        with Service("beat", env) as other:
            other.logged("Starting", within=30)
            wait_until(
                lambda: len(list((tmp_path / "health").glob("beat-*.json"))) == 2,
                within=20,
                saying="both turn",
            )
            assert healthy("beat", env)
            assert "Acquired lock" not in other.log


@pytest.fixture
def flower(env: dict[str, str]) -> Iterator[Callable[..., tuple[CeleryProcess, int]]]:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(**more: str) -> tuple[CeleryProcess, int]:
            port = free_port()
            service = Service("flower", {**env, **more}, swap={"--port=5555": f"--port={port}"})
            return stack.enter_context(service), port

        yield start


def ask(port: int, path: str, password: str | None = None) -> int:
    headers = {}
    if password is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(password.encode()).decode()}"
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        except OSError:
            return 0


def test_flower_asks_for_its_password(flower: Callable[..., Any]) -> None:
    _, port = flower(FLOWER_BASIC_AUTH="me:hunter2")
    wait_until(lambda: ask(port, "/healthcheck") == 200, within=30, saying="it is up")
    assert ask(port, "/workers") == 401
    assert ask(port, "/workers", "me:wrong") == 401
    assert ask(port, "/workers", "me:hunter2") == 200


def test_flower_without_a_password_is_refused(flower: Callable[..., Any]) -> None:
    process, port = flower()
    assert process.wait(30) == 1
    assert "celery: Flower would listen on 0.0.0.0 without authentication" in process.log
    assert "Traceback" not in process.log
    assert ask(port, "/healthcheck") == 0


def test_flower_that_is_told_no_address_is_private(env: dict[str, str]) -> None:
    port = free_port()
    with CeleryProcess("flower", [f"--port={port}"], env=env) as process:
        wait_until(lambda: ask(port, "/healthcheck") == 200, within=30, saying="it is up")
        sockets = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        listening = re.findall(rf"\d+: ([0-9A-F]+):{port:04X} [0-9A-F:]+ 0A", sockets)
        assert listening == ["0100007F"]
        assert process.running


def test_valkeys_command_is_understood(tmp_path: Path) -> None:
    from tests.binaries import valkey

    words = [word if "$" not in word else "hunter2" for word in SERVICES["valkey"]["command"][1:]]
    server = ValkeyServer()
    argv = [valkey(), *words, "--port", str(server.port), "--dir", str(tmp_path)]
    process = Process(argv, log=tmp_path / "valkey.log", cwd=tmp_path, env=dict(os.environ))
    try:
        import redis

        with closing(redis.Redis(port=server.port, password="hunter2", decode_responses=True)) as client:
            wait_until(lambda: _answers(client), within=10, saying="it answers")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
    finally:
        process.kill()
        server.close()


def _answers(client: Any) -> bool:
    import redis

    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
