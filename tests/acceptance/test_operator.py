"""The operator's commands as an operator types them: real processes, beside a real worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import wait_until
from tests.workers import ROOT, Worker, celery, environment

_SETTINGS = {"task_modules": "tasks,tests.jobs", "max_tries": 1}


class Terminal:
    """Types commands; what they say is kept apart from what they complain of."""

    def __init__(self, broker: str, database: str) -> None:
        self._env = environment(broker, database, _SETTINGS)

    def type(self, *words: object, status: int = 0) -> str:
        found = self.run(*words)
        assert found.returncode == status, found.stderr
        assert "Traceback" not in found.stderr
        return found.stdout

    def told(self, *words: object) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.type(*words, "--json"))
        return value

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return celery(*words, env=self._env)

    def start(self, *words: object) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "celery", "-A", "app", *map(str, words)]
        return subprocess.Popen(argv, cwd=ROOT, env=self._env, stdout=subprocess.PIPE, text=True)

    def state(self, id: str) -> str:
        return str(self.told("jobs", "show", id)["job"]["state"])


@pytest.fixture
def terminal(redis_url: str, postgres_url: str) -> Terminal:
    return Terminal(redis_url, postgres_url)


@pytest.fixture
def worker(start_worker: Callable[..., Worker], redis_url: str, postgres_url: str) -> Worker:
    return start_worker(redis_url, postgres_url, concurrency=2).ready()


def attempts(terminal: Terminal, id: str) -> list[Any]:
    return list(terminal.told("jobs", "show", id)["job"]["attempts"])


@pytest.mark.slow
def test_an_operators_morning(terminal: Terminal, worker: Worker) -> None:
    done = terminal.type("jobs", "enqueue", "tests.add", "--arg", 1, "-k", "y=2").strip()
    wait_until(lambda: terminal.state(done) == "completed", within=20, saying="the job is done")
    assert "result\n3" in terminal.type("jobs", "show", done)

    sleeps = terminal.type("jobs", "enqueue", "tests.sleep", "--arg", 60).strip()
    wait_until(lambda: terminal.state(sleeps) == "running", within=20, saying="the job runs")
    assert f"runs on {worker.node} for" in terminal.type("jobs", "explain", sleeps)
    assert terminal.told("workers")["workers"][0]["running"] == 1
    assert terminal.type("jobs", "cancel", sleeps, "--hard") == f"{sleeps} requested\n"
    wait_until(lambda: terminal.state(sleeps) == "cancelled", within=20, saying="the job is cancelled")

    later = terminal.type("jobs", "enqueue", "tests.noop", "--countdown", 900).strip()
    assert "it waits until" in terminal.type("jobs", "explain", later)
    assert later in terminal.type("jobs", "list", "--sort", "due")
    assert terminal.type("jobs", "cancel", "--state", "pending", "--yes") == "cancelled 1 job\n"

    queues = {one["name"]: one for one in terminal.told("queues")["queues"]}
    assert (queues["normal"]["consumers"], queues["normal"]["completed"]) == (1, 1)
    assert terminal.told("stats")["all"]["jobs"] == 3
    assert "1 running" not in terminal.type("jobs", "watch", "--times", 1)


@pytest.mark.slow
def test_a_dead_letter_is_found_mended_and_replayed(terminal: Terminal, worker: Worker) -> None:
    dead = terminal.type("jobs", "enqueue", "tests.echo", "--arg", 1, "--queue", "low").strip()
    broken = terminal.type("jobs", "enqueue", "tests.fail", "-k", 'message="\\u001b[2Jno"').strip()
    wait_until(lambda: terminal.state(broken) == "failed", within=20, saying="the job is given up")
    (group,) = terminal.told("dead-letters", "list")["groups"]
    shown = terminal.type("dead-letters", "show", group["key"])
    assert broken in shown
    assert "\x1b" not in shown
    assert terminal.type("dead-letters", "replay", group["key"], "--dry-run") == "would replay 1\n"
    terminal.type("dead-letters", "replay", broken)
    wait_until(lambda: len(attempts(terminal, broken)) == 2, within=20, saying="it failed again")
    assert terminal.type("dead-letters", "discard", "--all", "--yes") == "discarded 1\n"
    assert terminal.state(dead) == "completed"


def test_what_cannot_be_reached_is_a_sentence(sqlite_url: str) -> None:
    away = Terminal("redis://127.0.0.1:1/0", "postgresql://me:hunter2@127.0.0.1:1/none")
    for words in (["jobs", "list"], ["dead-letters", "list"], ["queues"], ["workers"], ["stats"]):
        found = away.run(*words)
        assert found.returncode == 1
        assert "error: the ledger's database cannot be reached" in found.stderr
        assert "Traceback" not in found.stderr
        assert "hunter2" not in found.stderr
    without_broker = Terminal("redis://127.0.0.1:1/0", sqlite_url)
    id = without_broker.type("jobs", "enqueue", "tests.noop").strip()
    assert id in without_broker.type("jobs", "list")


def test_a_watch_ends_with_ctrl_c(terminal: Terminal) -> None:
    watch = terminal.start("jobs", "watch", "--interval", 600)  # what sleeps cannot swallow the signal
    assert watch.stdout is not None
    assert "0 due" in watch.stdout.readline()
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=120)
    assert watch.returncode == 0


def test_a_list_whose_reader_leaves_is_no_error(terminal: Terminal) -> None:
    watch = terminal.start("jobs", "watch", "--interval", 0.1)
    assert watch.stdout is not None
    watch.stdout.readline()
    watch.stdout.close()
    assert watch.wait(timeout=20) in (0, 1)
