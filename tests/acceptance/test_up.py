"""``celery -A app up`` as a person starts it: everything comes up and goes again, also when it is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from celeriac.settings.platform import EmbeddedAddress
from tests.processes import living
from tests.servers import PostgresServer
from tests.support import wait_until
from tests.workers import PATIENT, CeleryProcess

Start = Callable[..., CeleryProcess]

UP = "Ctrl-C stops everything"
_FEWEST = ("--no-beat", "--no-flower", "--no-console")
_NOT_INHERITED = ("CELERY", "CELERIAC_", "DATABASE_URL", "FLOWER_")


def environment(data_dir: Path) -> dict[str, str]:
    """No URL at all, the tests' tasks, any port for Flower and the console."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}
    return inherited | {
        "CELERIAC_DATA_DIR": str(data_dir),
        "CELERIAC_TASK_MODULES": "tests.jobs",
        "CELERIAC_FLOWER_PORT": "0",
        "CELERIAC_CONSOLE_PORT": "0",
        "FLOWER_UNAUTHENTICATED_API": "true",
        "PYTHONUNBUFFERED": "1",
        **PATIENT,
    }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``celery -A app COMMAND …``; nothing of it is left after the test."""
    with ExitStack() as stack:

        def start(command: str, *arguments: str, env: Mapping[str, str] | None = None) -> CeleryProcess:
            process = CeleryProcess(command, arguments, env={**environment(tmp_path), **(env or {})})
            return stack.enter_context(process)

        yield start


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CeleryProcess, Path]]:
    """One ``up`` with all its services, for what leaves it running; and its data directory."""
    data_dir = tmp_path_factory.mktemp("everything")
    with CeleryProcess("up", ["-c", "1"], env=environment(data_dir)) as up:
        yield up.logged(UP, within=60), data_dir


def interrupt(process: CeleryProcess) -> None:
    """What Ctrl-C does, to the supervisor alone: its services are in groups of their own."""
    process.process.send(signal.SIGINT)


def states(data_dir: Path, task: str = "tests.%") -> list[str]:
    query = "SELECT state FROM background_jobs WHERE job_type LIKE ? ORDER BY queued"
    with closing(sqlite3.connect(data_dir / "ledger.db")) as ledger:
        return [state for (state,) in ledger.execute(query, [task])]


def beats(up: CeleryProcess) -> list[int]:
    """Pids of its services that are a beat."""
    found = []
    for pid in up.children():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        found += [pid] if b"beat" in words and b"child_process.py" not in words[3] else []
    return found


def test_everything_comes_up_and_a_job_runs(everything: tuple[CeleryProcess, Path]) -> None:
    up, data_dir = everything
    with CeleryProcess("call", ["tests.add", "--args=[1, 2]"], env=environment(data_dir)) as call:
        assert call.wait(30) == 0
    wait_until(lambda: states(data_dir) == ["completed"], within=20, saying="the job ran")
    for service in ("valkey", "worker", "beat", "flower", "console"):
        assert re.search(rf"^{service} +\| .", up.log, re.MULTILINE), f"{service} has said nothing"


def test_the_url_of_flower_is_printed(everything: tuple[CeleryProcess, Path]) -> None:
    up, _ = everything
    printed = re.search(r"flower +http://127\.0\.0\.1:(\d+)/", up.log)
    assert printed
    with closing(HTTPConnection("127.0.0.1", int(printed[1]), timeout=5)) as flower:
        flower.request("GET", "/healthcheck")
        assert flower.getresponse().status == 200


def test_the_url_of_the_console_is_printed_first_and_lets_one_in(
    everything: tuple[CeleryProcess, Path],
) -> None:
    up, _ = everything
    printed = re.search(r"^  (console|broker) +(\S+)", up.log, re.MULTILINE)
    assert printed
    assert printed[1] == "console"
    url = urlsplit(printed[2])
    with closing(HTTPConnection("127.0.0.1", url.port, timeout=20)) as console:
        console.request("GET", "/jobs")
        refused = console.getresponse()
        refused.read()
        assert refused.status == 401
        console.request("GET", f"/jobs?{url.query}")
        entered = console.getresponse()
        entered.read()
        cookie = entered.headers["set-cookie"].partition(";")[0]
        console.request("GET", "/jobs", headers={"cookie": cookie, "accept": "application/json"})
        assert console.getresponse().status == 200


@pytest.mark.parametrize(
    ("way", "body", "status", "sentence"),
    [
        ("send-task/tests.ad", {}, 404, "no task is named 'tests.ad'; did you mean 'tests.add'?"),
        ("send-task/tests.add", {"args": [1, 2], "queue": "high.low"}, 400, "queue: a lane's name must not"),
        ("async-apply/tests.add", {"args": [1]}, 400, "missing 1 required positional argument"),
        ("async-apply/tests.add", {"args": [1, 2], "priority": 101}, 400, "priority: wanted one of"),
    ],
)
def test_flowers_api_says_why_a_job_is_refused(
    everything: tuple[CeleryProcess, Path], way: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    up, _ = everything
    port = re.search(r"flower +http://127\.0\.0\.1:(\d+)/", up.log)
    assert port
    with closing(HTTPConnection("127.0.0.1", int(port[1]), timeout=20)) as flower:
        flower.request("POST", f"/api/task/{way}", json.dumps(body), {"Content-Type": "application/json"})
        answer = flower.getresponse()
        said = answer.read().decode()
    assert answer.status == status
    assert sentence in said


def test_a_second_one_on_the_same_directory_is_refused(everything: tuple[CeleryProcess, Path]) -> None:
    first, data_dir = everything
    with CeleryProcess("up", [], env=environment(data_dir)) as second:
        assert second.wait(30) == 1
        assert "error: a stack already runs on" in second.log
        assert "Traceback" not in second.log
    assert first.running


def test_a_beat_that_ends_is_started_again(everything: tuple[CeleryProcess, Path]) -> None:
    up, _ = everything
    (beat,) = beats(up)
    os.kill(beat, signal.SIGKILL)
    up.logged("beat ended with SIGKILL; it is started again in 1 s", within=10)
    wait_until(lambda: beats(up), within=20, saying="there is a beat again")


def test_one_interrupt_ends_it_and_a_running_job_is_waited_for(
    everything: tuple[CeleryProcess, Path],
) -> None:
    """The last of those that share it: it ends."""
    up, data_dir = everything
    with CeleryProcess("call", ["tests.sleep", "--args=[2]"], env=environment(data_dir)) as call:
        assert call.wait(30) == 0
    wait_until(lambda: states(data_dir, "tests.sleep") == ["running"], within=20, saying="the job runs")
    everyone = up.process.tree()
    interrupt(up)
    assert up.wait(30) == 0
    assert states(data_dir, "tests.sleep") == ["completed"]
    assert not living(everyone)


def test_a_second_interrupt_gives_running_jobs_up(start: Start, tmp_path: Path) -> None:
    up = start("up", "-c", "1", *_FEWEST).logged(UP, within=60)
    assert start("call", "tests.sleep", "--args=[600]").wait(30) == 0
    wait_until(lambda: states(tmp_path) == ["running"], within=20, saying="the job runs")
    everyone = up.process.tree()
    interrupt(up)
    up.logged("Warm shutdown", within=10)
    interrupt(up)
    assert up.wait(40) == 0
    assert not living(everyone)
    assert states(tmp_path) != ["completed"]


def test_an_interrupt_while_it_starts_ends_it_too(start: Start) -> None:
    up = start("up").logged("valkey  |", within=30)
    everyone = up.process.tree()
    interrupt(up)
    assert up.wait(30) == 0
    assert UP not in up.log
    assert not living(everyone)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells of a parent's death")
def test_nothing_is_left_when_it_is_killed_and_it_starts_again(start: Start, tmp_path: Path) -> None:
    up = start("up", "-c", "2").logged(UP, within=60)
    assert start("call", "tests.sleep", "--args=[600]").wait(30) == 0
    wait_until(lambda: states(tmp_path) == ["running"], within=20, saying="the job runs")
    everyone = up.process.tree()
    assert len(everyone) >= 7  # itself, Valkey, a worker with two children, beat, Flower
    up.kill_main()
    wait_until(lambda: not living(everyone), within=5, saying="nothing is left")
    again = start("up", *_FEWEST).logged(UP, within=60)
    interrupt(again)
    assert again.wait(30) == 0


def test_a_port_that_another_program_took_is_left_to_it(start: Start, tmp_path: Path) -> None:
    taken = EmbeddedAddress.at(tmp_path).port
    with socket.create_server(("127.0.0.1", taken)):
        up = start("up", "-c", "1", *_FEWEST).logged(UP, within=60)
        assert EmbeddedAddress.at(tmp_path).port != taken
        interrupt(up)
        assert up.wait(30) == 0


def test_a_service_that_cannot_start_is_quoted(start: Start) -> None:
    up = start("up", *_FEWEST, env={"CELERIAC_TASK_MODULES": "no_such_module"})
    assert up.wait(60) == 1
    error = up.log.partition("error: worker could not be started: it ended with status 1")[2]
    assert "no_such_module" in error


def test_a_database_that_is_away_is_said_in_one_sentence(
    start: Start, private_postgres: PostgresServer
) -> None:
    private_postgres.stop()
    up = start("up", env={"DATABASE_URL": private_postgres.url()})
    assert up.wait(90) == 1
    assert "error: the ledger could not be started: " in up.log
    assert "Traceback" not in up.log
