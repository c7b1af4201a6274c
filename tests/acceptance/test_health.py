"""Liveness of real processes, as a container's engine asks for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.servers import free_port
from tests.support import wait_until
from tests.workers import CeleryProcess, Worker, celery, environment


def health(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return celery("health", *words, env=env)


def ready(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False


@pytest.mark.parametrize("pool", ["burst", "prefork", "gevent"])
def test_a_worker_is_live_until_it_is_killed(
    start_worker: Callable[..., Worker], redis_url: str, postgres_url: str, tmp_path: Path, pool: str
) -> None:
    port = free_port()
    settings: dict[str, Any] = {"data_dir": tmp_path, "health_port": port}
    env = environment(redis_url, postgres_url, settings)
    worker = start_worker(redis_url, postgres_url, pool=pool, settings=settings).ready()
    wait_until(lambda: ready(port), within=10, saying="it is ready")
    wait_until(lambda: health(env, "--ready").returncode == 0, within=20, saying="its file says so")
    (found,) = json.loads(health(env, "--role", "worker", "--json").stdout)["processes"]
    assert (found["pid"], found["live"], found["ready"]) == (worker.pid, True, True)
    assert health(env, "--role", "beat").returncode == 1
    worker.kill()
    ended = health(env)
    assert (ended.returncode, ended.stderr) == (1, "no worker or beat has a liveness file on this machine\n")


def test_a_worker_without_its_ledger_is_live_and_not_ready(
    start_worker: Callable[..., Worker], redis_url: str, private_postgres: Any, private_postgres_url: str
) -> None:
    port = free_port()
    worker = start_worker(redis_url, private_postgres_url, settings={"health_port": port}).ready()
    wait_until(lambda: ready(port), within=10, saying="it is ready")
    private_postgres.stop()
    wait_until(lambda: not ready(port), within=30, saying="it is not ready")
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", "/live")
        assert connection.getresponse().status == 200
    assert worker.running


def test_a_beat_is_live_until_it_ends(redis_url: str, postgres_url: str, tmp_path: Path) -> None:
    env = environment(redis_url, postgres_url, {"data_dir": tmp_path})
    with CeleryProcess("beat", ["--pidfile=", "-l", "INFO"], env=env) as beat:
        beat.logged("Acquired lock", within=30)
        wait_until(lambda: health(env, "--ready").returncode == 0, within=20, saying="it is ready")
        beat.term()
        assert beat.wait(100) == 0
    assert list((tmp_path / "health").iterdir()) == []
