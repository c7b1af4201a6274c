"""``python -m app.demo``, which ``make run`` starts: all comes up, the load ends well, all is stopped."""

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
from tests.workers import PATIENT, ROOT, CeleryProcess, DemoProcess, environment

Demo = Callable[..., CeleryProcess]

_START = 60.0  # seconds, on a busy machine
_LOAD = 40.0
_STOP = 30.0


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Demo]:
    """Starts the demonstration in a data directory of its own; nothing of it is left after the test."""
    with ExitStack() as stack:

        def start(*arguments: str, broker: str = "", database: str = "") -> CeleryProcess:
            settings = {"data_dir": tmp_path / "data", "flower_port": 0, "console_port": 0}
            env = PATIENT | environment(broker, database, settings)
            return stack.enter_context(DemoProcess(arguments, env=env))

        yield start


def test_the_demonstration_ends_well_and_says_so(start_demo: Demo, tmp_path: Path) -> None:
    demo = start_demo("--exit", "--jobs", "60")
    demo.logged("60 of 60 done", within=_START + _LOAD)
    started = demo.process.tree()
    assert demo.wait(_STOP) == 0
    wait_until(lambda: not living(started), within=5, saying="the stack is gone")

    assert re.search(r"^webhooks\.deliver +completed +56 +\d+( +[\d.]+ m?s){4} *$", demo.log, re.MULTILINE)
    assert re.search(r"^60 jobs: 58 completed, \d+ retried, 2 failed$", demo.log, re.MULTILINE)
    assert "every job is in the state in which it should be" in demo.log
    assert len(list((tmp_path / "data" / "reports").glob("ledger-*.html"))) == 1
    assert "Traceback" not in demo.log


def test_a_load_that_takes_too_long_ends_badly_and_the_stack_stays(
    start_demo: Demo, redis_url: str, postgres_url: str
) -> None:
    """With servers of one's own. What it tells one to type works while it stays."""
    demo = start_demo("--jobs", "20", "--within", "1", broker=redis_url, database=postgres_url)
    demo.logged("Ctrl-C stops everything", within=_START + _LOAD)
    assert re.search(r"/broken\): wanted failed, found (pending|running|error)$", demo.log, re.MULTILINE)

    told = demo.log.partition("what to type next")[2]
    call, status, dead = (line.strip() for line in told.splitlines() if " -A app " in line or " -c " in line)
    assert re.fullmatch(r"[0-9a-f-]{36}\n", _typed(call, demo))
    assert "1 node online" in _typed(status, demo)
    letters = wait_until(
        lambda: "NotTaken" in (said := _typed(dead, demo)) and said,
        within=_LOAD,
        saying="/broken is a dead letter",
    )
    assert "tasks.webhooks.Refused" in letters

    started = demo.process.tree()
    demo.process.send(signal.SIGINT)
    assert demo.wait(_STOP) == 1
    wait_until(lambda: not living(started), within=5, saying="the stack is gone")


def _typed(command: str, demo: CeleryProcess) -> str:
    run = subprocess.run(
        command, shell=True, cwd=ROOT, env=demo._env, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
    return run.stdout
