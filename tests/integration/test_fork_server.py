"""A program that was forked from the preloaded interpreter: what it sees is what a started one sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import fork_server
from tests.fork_server import Forked
from tests.leaks import children
from tests.processes import Process, descendants, living, processes, run
from tests.support import wait_until
from tests.workers import ROOT

PROBE = """
import atexit, ctypes, json, os, sys, threading
from pathlib import Path

death = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(death), 0, 0, 0)
status = Path("/proc/self/status").read_text().splitlines()
signals = [line for line in status if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
apps = sys.modules["celery._state"]._apps if "celery._state" in sys.modules else ()
seen = {
    "name": __name__, "argv": sys.argv, "path": sys.path,
    "main": vars(sys.modules["__main__"]).get("apps") is apps,
    "environment": dict(os.environ), "directory": os.getcwd(),
    "leads a group": os.getpgrp() == os.getpid(), "session": os.getsid(0), "death": death.value,
    "files": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1], "signals": signals,
    "read": sys.stdin.read(), "threads": len(threading.enumerate()), "apps": len(apps),
    "ours": [name for name in sys.modules if name.split(".")[0] in ("app", "tasks", "tests")],
}
print(json.dumps(seen))
print("complained", file=sys.stderr)
atexit.register(print, "left in order", flush=True)
sys.exit(3)
"""


def ran(
    start: Any, argv: Sequence[str], env: Mapping[str, str], home: Path
) -> tuple[int, dict[str, Any], str, str]:
    """Exit status, what the probe saw, what it printed after it, and what it complained of."""
    (home / "typed").write_text("typed")
    with ExitStack() as stack:
        files = [stack.enter_context((home / name).open(mode)) for name, mode in FILES.items()]
        program = start(argv, [file.fileno() for file in files], home, env)
        status = program.wait(60)
    seen, _, rest = (home / "printed").read_text().partition("\n")
    return status, json.loads(seen), rest, (home / "complained").read_text()


STATE = """
import json, os, sys, threading
state = sys.modules["celery._state"]
print(json.dumps({
    "apps": [type(app).__name__ for app in state._apps], "default": state.default_app is not None,
    "current": state._tls.current_app is not None,
    "threads": len(threading.enumerate()), "environment": sorted(os.environ), "read": sys.stdin.read(),
    "settings": sorted(name for name in sys.modules if name.split(".")[0] in ("app", "tasks", "tests")),
}))
"""


def test_what_of_ours_is_imported_before_a_fork_does_what_its_import_does(tmp_path: Path) -> None:
    def state(code: str, libraries: tuple[str, ...]) -> dict[str, Any]:
        done = run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, libraries=libraries)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    imports = f"import {', '.join(fork_server.OURS)}\n"
    found = state(STATE, fork_server.OURS)
    assert found == state(imports + STATE, ())
    assert found["apps"] == ["NoApp"], "what refuses until an app is made"
    assert (found["threads"], found["settings"]) == (1, [])


FILES = {"typed": "r", "printed": "w", "complained": "w"}


def forked(argv: Sequence[str], files: Sequence[int], home: Path, env: Mapping[str, str]) -> Forked:
    return Forked(argv, files=files, cwd=home, env=env, death=signal.SIGKILL)


def started(argv: Sequence[str], files: Sequence[int], home: Path, env: Mapping[str, str]) -> Any:
    tether = [
        sys.executable,
        "-I",
        "-S",
        ROOT / "tests" / "tether.py",
        os.getpid(),
        int(signal.SIGKILL),
        -1,
        -1,
    ]
    words = [str(word) for word in (*tether, *argv)]
    stdin, stdout, stderr = files
    return subprocess.Popen(
        words, stdin=stdin, stdout=stdout, stderr=stderr, cwd=home, env=dict(env), process_group=0
    )


@pytest.mark.parametrize(
    "words", [("-m", "probe"), ("-c", PROBE), ("probe.py",)], ids=["module", "code", "script"]
)
def test_a_fork_sees_what_a_started_program_sees(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "beside").mkdir()
    argv = [sys.executable, *words, "one", "--two=3"]
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    env |= {"PYTHONPATH": str(tmp_path / "beside"), "PYTHONUNBUFFERED": "1", "SHOP": "ours"}
    status, seen, *printed = ran(started, argv, env, tmp_path)
    found, seen_in_fork, *printed_by_fork = ran(forked, argv, env, tmp_path)
    assert seen_in_fork == seen
    assert (found, printed_by_fork) == (status, printed)
    assert (status, *printed) == (3, "left in order\n", "complained\n")
    assert (seen["name"], seen["argv"][1:], seen["read"]) == ("__main__", ["one", "--two=3"], "typed")


#: An app whose import never ends; the word is printed by what it forks.
ENDLESS = """
import os, time
if os.fork() == 0:
    print("forked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "endless.py").write_text(ENDLESS)
    argv = [sys.executable, "-m", "celery", "-A", "endless", "worker"]
    with Process(argv, log=tmp_path / "log", cwd=tmp_path) as process:
        assert isinstance(process._popen, Forked)
        wait_until(lambda: "forked" in (tmp_path / "log").read_text(), within=30, saying="it has forked")
        yield process


def test_a_fork_is_signalled_and_killed_with_what_it_forked(endless: Process) -> None:
    tree = endless.tree()
    assert len(tree) == 2
    assert endless.pid in children(), "what a module leaves behind is looked for among them"
    with pytest.raises(subprocess.TimeoutExpired):
        endless._popen.wait(0.01)
    endless.freeze()
    assert {processes()[pid].state for pid in tree} <= {"T", "t"}
    assert endless.kill() == -signal.SIGKILL
    assert not living(tree)
    endless.send(signal.SIGTERM)  # to nobody
    assert endless.pid not in children()


OWNER = """
import sys, time
from pathlib import Path
from tests.processes import Process
home = Path(sys.argv[1])
worker = Process([sys.executable, "-m", "celery", "-A", "endless", "worker"], log=home / "log", cwd=home)
while "forked" not in (home / "log").read_text():
    time.sleep(0.05)
if sys.argv[2] == "frozen":
    worker.freeze()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("state", ["running", "frozen"])
def test_forks_and_their_server_die_with_the_tests(state: str, tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS.replace("os.fork() == 0", "True"))
    argv = [sys.executable, "-c", OWNER, str(tmp_path), state]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        tree = descendants(owner.pid)
        assert len(tree) == 2
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not living(tree), within=15, saying="the fork server and the fork are gone")


WORKER = [sys.executable, "-m", "celery", "-A", "app", "worker"]


@pytest.mark.parametrize(
    ("argv", "env", "suits"),
    [
        (WORKER, {"CELERY_BROKER_URL": "redis://elsewhere/0", "PYTHONPATH": "/beside"}, True),
        (WORKER, {"PYTHONWARNINGS": "error"}, False),
        (WORKER, {"TZ": "Asia/Kathmandu"}, False),
        (["/another/python", *WORKER[1:]], {}, False),
        (["/usr/bin/env", *WORKER], {}, False),
        ([sys.executable, "-W", "error", *WORKER[1:]], {}, False),
        ([sys.executable, "manage.py", "migrate"], {}, True),
    ],
    ids=["a worker", "warnings", "zone", "another Python", "a program", "an option", "a script"],
)
def test_what_would_notice_is_started(
    argv: list[str], env: dict[str, str], suits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_EXEC", raising=False)
    assert fork_server.suits(argv, os.environ | env) is suits
    monkeypatch.setenv("TEST_EXEC", "1")
    assert not fork_server.suits(argv, os.environ | env)


def test_what_customizes_the_interpreter_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_EXEC", raising=False)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(["/beside", str(tmp_path)])}
    assert fork_server.suits(WORKER, env)
    (tmp_path / "sitecustomize.py").write_text("")
    assert not fork_server.suits(WORKER, env)
