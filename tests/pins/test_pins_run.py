"""A worker with what a public project pins runs a job and its retry. It asks the package index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pins.test_pins import HERE, UNREACHABLE
from tests.processes import Process
from tests.support import wait_until
from tests.wheels import build
from tests.workers import environment

#: The Celery that each has: two versions and two of kombu, none of which the tests themselves run with.
RUN = {"paperless-2025-09": "5.5.", "flask-docker-2026": "5.6."}

PROJECT = """
import celery
from celeriac import Celeriac

app = Celeriac("proj")

@app.task(bind=True, name="proj.second")
def second(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return celery.__version__

if __name__ == "__main__":
    print(second.delay().get(timeout=60))
"""

pytestmark = pytest.mark.index


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.getbasetemp())


def uv(*words: str | Path) -> None:
    """Run uv; fails when the index is not to be had, which says nothing of what is installed."""
    argv = [sys.executable, "-m", "uv", *map(str, words), "--quiet"]
    asked = subprocess.run(argv, capture_output=True, text=True, timeout=500)
    if asked.returncode and UNREACHABLE.search(asked.stderr):
        pytest.fail(f"the package index cannot be reached, and this test asks it:\n{asked.stderr}", False)
    assert asked.returncode == 0, asked.stderr


@pytest.mark.parametrize(("pins", "version"), RUN.items(), ids=RUN)
def test_a_worker_runs_a_job_and_its_retry_beside_the_pins_of(
    pins: str, version: str, wheel: Path, tmp_path: Path, redis_url: str
) -> None:
    python = tmp_path / "env" / "bin" / "python"
    uv("venv", "--python", sys.executable, tmp_path / "env")
    uv("pip", "install", "--python", python, "--requirements", HERE / f"{pins}.txt", wheel)
    (tmp_path / "proj.py").write_text(PROJECT)
    log, env = tmp_path / "worker.log", environment(redis_url, f"sqlite:///{tmp_path / 'ledger.db'}")

    def run(*words: str) -> str:
        ended = subprocess.run(
            [python, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100
        )
        assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}{log.exists() and log.read_text()}"
        return ended.stdout

    run("-m", "celery", "-A", "proj", "db", "upgrade")
    argv = [python, "-m", "celery", "-A", "proj", "worker", "-c", "1", "--loglevel", "INFO"]
    with Process(argv, log=log, cwd=tmp_path, env=env) as worker:
        wait_until(
            lambda: "ready." in log.read_text() or worker.status is not None, within=60, saying="ready"
        )
        assert worker.status is None, log.read_text()
        assert run("proj.py").startswith(version)
