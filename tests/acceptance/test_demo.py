"""``celery -A app demo``, which ``make run`` starts: all comes up, the load ends well, all is stopped."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.processes import living
from tests.support import wait_until
from tests.workers import ROOT, CeleryProcess, environment

Demo = Callable[..., CeleryProcess]

_START = 60.0  # seconds, on a busy machine
_LOAD = 40.0
_STOP = 30.0


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Demo]:
    """Starts the demonstration in a data directory of its own; nothing of it is left after the test."""
    with ExitStack() as stack:

        def start(*arguments: str, broker: str = "", database: str = "") -> CeleryProcess:
            settings = {"data_dir": tmp_path / "data", "flower_port": 0}
            env = environment(broker, database, settings)
            return stack.enter_context(CeleryProcess("demo", arguments, env=env))

        yield start


def test_the_demonstration_ends_well_and_says_so(start_demo: Demo, tmp_path: Path) -> None:
    demo = start_demo("--exit", "--jobs", "60")
    demo.logged("60 of 60 done", within=_START + _LOAD)
    started = demo.process.tree()
    assert demo.wait(_STOP) == 0
    wait_until(lambda: not living(started), within=5, saying="the stack is gone")

    assert re.search(r"^webhooks\.deliver +completed +56 +\d+ .* m?s$", demo.log, re.MULTILINE)
    assert re.search(r"^60 jobs: 58 completed, \d+ retried, 2 failed$", demo.log, re.MULTILINE)
    assert "every job is in the state in which it should be" in demo.log
    assert len(list((tmp_path / "data" / "reports").glob("ledger-*.html"))) == 1
    assert "Traceback" not in demo.log


def test_a_load_that_is_not_done_in_time_ends_badly(start_demo: Demo) -> None:
    demo = start_demo("--exit", "--jobs", "20", "--within", "1")
    assert demo.wait(_START + _STOP) == 1
    assert re.search(r"/broken\): wanted failed, found (pending|running|error)$", demo.log, re.MULTILINE)


def test_the_demonstration_stays_until_it_is_stopped(
    start_demo: Demo, redis_url: str, postgres_url: str
) -> None:
    """With servers of one's own; what it tells one to type works meanwhile."""
    demo = start_demo("--jobs", "20", broker=redis_url, database=postgres_url)
    demo.logged("Ctrl-C stops everything", within=_START + _LOAD)
    told = demo.log.partition("what to type next")[2]
    commands = [line.strip() for line in told.splitlines() if " -A app " in line or " -c " in line]
    said = [_typed(command, demo) for command in commands]

    assert re.fullmatch(r"[0-9a-f-]{36}\n", said[0])
    assert "1 node online" in said[1]
    assert "tasks.webhooks.Refused" in said[2]
    assert "tasks.webhooks.NotTaken" in said[2]

    started = demo.process.tree()
    demo.process.send(signal.SIGINT)
    assert demo.wait(_STOP) == 0
    wait_until(lambda: not living(started), within=5, saying="the stack is gone")


def _typed(command: str, demo: CeleryProcess) -> str:
    run = subprocess.run(
        command, shell=True, cwd=ROOT, env=demo._env, capture_output=True, text=True, timeout=30
    )
    assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
    return run.stdout
