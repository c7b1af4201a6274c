"""Start Python programs by forking a Python that has imported Celery and the libraries, which takes a second.

What runs is the real command line in a process of its own, with its own environment, directory, files and
process group. The libraries are there already; of this project each process imports what it needs by itself,
but for the commands of the app, see ``OURS``. What would notice is started by ``exec``, see ``suits``.
TEST_EXEC=1 has all of them started so, as ``make chaos`` does.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

#: What each process of a Django project imports; none of it reads settings.
DJANGO = (
    "django.contrib.admin",
    "django.core.management.commands.makemigrations",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.test",
    "pytest",
)
#: What ``celery -A app`` imports first, and then its worker: half of the time that a start takes. None of it
#: makes an app, reads a setting or starts a thread.
OURS = (
    "celeriac.application",
    "celeriac.worker.assembly",
    "celeriac.worker.consumer",
    "celeriac.cli.command",
    "celeriac.schedules.registry",
)
_SCRIPT = Path(__file__).with_name("preloaded.py")
_READ_AT_START = ("PYTHON", "LC_", "LD_", "LANG", "TZ")
_TAKEN_OVER = frozenset({"PYTHONPATH", "PYTHONUNBUFFERED"})  # the first by the fork, the second by the server
_LARGEST = 1 << 16  # bytes of an answer


def suits(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a fork does the same as this command: a Python that starts as ours did.

    What a program imports, and when, it cannot tell.
    """
    return (
        sys.platform == "linux"
        and not os.environ.get("TEST_EXEC")
        and argv[0] == sys.executable
        and (argv[1] in ("-m", "-c") or argv[1].endswith(".py"))
        and _for_the_interpreter(env) == _for_the_interpreter(os.environ)
        and not _is_customized(env)
    )


def _is_customized(env: Mapping[str, str]) -> bool:
    """Whether a Python that starts would run somebody's ``sitecustomize``, as a fork does not."""
    entries = env.get("PYTHONPATH", "").split(os.pathsep)
    return any(entry and Path(entry, "sitecustomize.py").is_file() for entry in entries)


class Forked:
    """A program in a fork, with the part of ``subprocess.Popen`` that ``Process`` uses.

    Args:
        files: its standard input, output and error.
        death: the signal that it gets when the tests' process dies.
        libraries: modules to be imported before the fork, beside those of ``preloaded.py``.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        files: Sequence[int],
        cwd: Path,
        env: Mapping[str, str],
        death: signal.Signals,
        libraries: tuple[str, ...] = (),
    ) -> None:
        settle = {"death": int(death), "env": dict(env), "cwd": str(cwd)}
        patched = ("gevent",) if "gevent" in argv else ()
        self._server = _server(os.getpid(), libraries + patched)
        request = {"words": list(argv[1:]), "settle": settle}
        self.pid = int(self._server.ask(request, files))
        self._status: int | None = None
        self._asking = threading.Lock()

    def poll(self) -> int | None:
        with self._asking:
            if self._status is None:
                self._status = self._server.ask({"status": self.pid})
            return self._status

    def wait(self, timeout: float | None = None) -> int:
        with self._asking:
            ended = (
                None if self._status is not None else os.pidfd_open(self.pid)
            )  # not reaped, so it is there
        if ended is not None:
            poll = select.poll()  # not select(), which knows no file beyond the 1024th
            poll.register(ended, select.POLLIN)
            try:
                poll.poll(None if timeout is None else timeout * 1000)
            finally:
                os.close(ended)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def pids() -> set[int]:
    """Of the servers that this process has started."""
    return {server.pid for server in _SERVERS}


class _ForkServer:
    """A preloaded interpreter; it ends with this process, for then its socket is closed."""

    def __init__(self, libraries: Sequence[str]) -> None:
        from tests.processes import scratch

        self._asked, asker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asking = threading.Lock()
        self._log = scratch("fork-server") / "log"
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with ExitStack() as stack:
            stack.enter_context(asker)
            output = stack.enter_context(self._log.open("ab"))
            self._process = subprocess.Popen(
                [sys.executable, _SCRIPT, str(asker.fileno()), *libraries],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env | {"PYTHONUNBUFFERED": "1"},
                pass_fds=[asker.fileno()],
                process_group=0,
            )
        self.pid = self._process.pid
        _SERVERS.append(self)
        atexit.register(self._close, os.getpid())

    def _close(self, owner: int) -> None:
        self._asked.close()
        if os.getpid() == owner:
            self._process.wait()

    def ask(self, request: Mapping[str, Any], files: Sequence[int] = ()) -> Any:
        with self._asking:
            try:
                socket.send_fds(self._asked, [json.dumps(request).encode()], list(files))
                answer = self._asked.recv(_LARGEST)
            except OSError:
                answer = b""
        assert answer, f"the fork server has ended: {self._log.read_text(errors='replace')}"
        return json.loads(answer)


_SERVERS: list[_ForkServer] = []


@cache
def _server(_owner: int, libraries: tuple[str, ...]) -> _ForkServer:
    return _ForkServer(libraries)


def _for_the_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in env.items()
        if name.startswith(_READ_AT_START) and name not in _TAKEN_OVER
    }
