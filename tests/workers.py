"""Real ``celery`` processes for acceptance tests: workers that may be stopped, killed and frozen."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Self

from tests import fork_server
from tests.processes import Process, run, scratch
from tests.support import wait_until

ROOT = Path(__file__).resolve().parent.parent
#: Words after ``python -m`` for a run of pytest inside of a test.
PYTEST = (
    *("pytest", "-q", "-p", "no:cacheprovider"),
    *("-p", "no:schemathesis", "-p", "no:hypothesispytest"),  # which take a second to import
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of what was imported before a fork
)
#: A busy machine may be slow to commit: no call is uncertain before a minute has passed.
PATIENT = {"CELERIAC_ENQUEUE_TIMEOUT": "60"}
_SET_BY_THE_TESTS = ("CELERY", "DATABASE_URL", "FLOWER_", "TEST_", "PYTEST_")
_numbers = itertools.count(1)


def environment(broker: str, database: str, settings: Mapping[str, object] | None = None) -> dict[str, str]:
    """The environment of a process of the platform; nothing of it comes from the tests' own settings.

    Args:
        settings: fields of ``Settings``: ``{"retry_base": 0.1}`` is CELERIAC_RETRY_BASE. A name
            in capitals is taken as it is.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_SET_BY_THE_TESTS)}
    given = {
        (name if name.isupper() else f"CELERIAC_{name.upper()}"): str(value)
        for name, value in (settings or {}).items()
    }
    fixed = {"CELERY_BROKER_URL": broker, "DATABASE_URL": database, "PYTHONUNBUFFERED": "1"}
    return inherited | fixed | given


def celery(
    *words: object, env: Mapping[str, str], app: str = "app", cwd: Path = ROOT, typed: str = ""
) -> CompletedProcess[str]:
    """Run ``celery -A app WORD…`` to its end; see ``tests.processes.run``. A slow commit is waited for."""
    argv = [sys.executable, "-m", "celery", "-A", app, *map(str, words)]
    return run(argv, cwd=cwd, env=PATIENT | env, typed=typed, libraries=_imported(app, env))


def _imported(app: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """What a command of this app may find imported; of another one, or another path, it finds it itself."""
    return fork_server.OURS if app == "app" and env.get("PYTHONPATH") == os.environ.get("PYTHONPATH") else ()


class CeleryProcess:
    """``celery -A app COMMAND …`` with its log in a file; used as a context manager, nothing of it is left.

    The end of its log goes to stdout when it is closed, where pytest shows it for tests that fail.
    """

    def __init__(
        self, command: str, arguments: Sequence[str], *, env: Mapping[str, str], app: str = "app"
    ) -> None:
        self.name = f"{command}-{os.getpid()}-{next(_numbers)}"
        self._app = app
        self._argv = [sys.executable, "-m", *self._words(command), *arguments]
        self._env = dict(env)
        self._log = scratch(command) / f"{self.name}.log"
        self._process: Process | None = None

    def _words(self, command: str) -> Sequence[str]:
        """The module that is run, and its first words."""
        return ("celery", "-A", self._app, command)

    @property
    def process(self) -> Process:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def running(self) -> bool:
        return self.process.status is None

    def start(self) -> Self:
        assert self._process is None or not self.running, f"{self.name} runs already"
        libraries = _imported(self._app, self._env)
        self._process = Process(self._argv, log=self._log, cwd=ROOT, env=self._env, libraries=libraries)
        return self

    def logged(self, text: str, *, within: float) -> Self:
        """Wait until the log holds ``text``; fails at once when the process ends without it."""
        wait_until(
            lambda: text in self.log or not self.running, within=within, saying=f"{self.name} logs {text!r}"
        )
        if text not in self.log:
            raise AssertionError(f"{self.name} ended with {self.process.status} before it logged {text!r}")
        return self

    def children(self) -> list[int]:
        """Pids of its direct children, oldest first."""
        return self.process.children()

    def term(self) -> None:
        """SIGTERM to the main process: a warm shutdown."""
        self.process.send(signal.SIGTERM)

    def quit(self) -> None:
        """SIGQUIT to the main process: a cold shutdown."""
        self.process.send(signal.SIGQUIT)

    def kill(self) -> int:
        """SIGKILL to it and its children at once, as the machine's end would; returns the exit status."""
        return self.process.kill()

    def kill_main(self) -> None:
        """SIGKILL to the main process alone; what becomes of its children is their affair."""
        self.process.send(signal.SIGKILL)
        self.process.wait(10)

    def freeze(self, *, children: bool = True) -> None:
        """SIGSTOP to the main process and, unless told otherwise, to its children."""
        self.process.freeze(children=children)

    def thaw(self) -> None:
        self.process.thaw()

    def wait(self, within: float) -> int:
        """The exit status, once it has ended by itself; negative for a signal."""
        return self.process.wait(within)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            print(self._process.tail())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class DemoProcess(CeleryProcess):
    """``python -m app.demo …``, which ``make run`` starts."""

    def __init__(self, arguments: Sequence[str], *, env: Mapping[str, str]) -> None:
        super().__init__("demo", arguments, env=env)

    def _words(self, command: str) -> Sequence[str]:
        return (f"app.{command}",)


#: The environment's word for the pool that a test's workers have in place of the default one.
POOL = "TEST_WORKER_POOL"


class Worker(CeleryProcess):
    """``celery -A app worker`` with the tasks of ``tests.jobs``.

    Args:
        broker: what CELERY_BROKER_URL is set to; see the fixture ``redis_url``.
        database: what DATABASE_URL is set to; see the fixture ``database_url``.
        pool: burst, prefork, threads, solo or gevent; in place of burst, what TEST_WORKER_POOL says.
        concurrency: jobs at a time.
        settings: see ``environment``.
        options: further arguments of ``celery worker``.
        include: modules of tasks beside the app's own.
        app: of ``celery -A``.
    """

    def __init__(
        self,
        broker: str,
        database: str,
        *,
        pool: str = "burst",
        concurrency: int = 2,
        settings: Mapping[str, object] | None = None,
        options: Sequence[str] = (),
        include: str = "tests.jobs",
        app: str = "app",
    ) -> None:
        super().__init__("worker", (), env=environment(broker, database, settings), app=app)
        self.node = f"{self.name}@test"
        if pool == "burst":
            pool = os.environ.get(POOL, pool)
        self._argv += ["-P", pool, "-c", str(concurrency), "-n", self.node]
        # At its start a worker waits a second for what others know of revoked jobs; here nobody does.
        self._argv += ["--loglevel", "INFO", "-I", include, "--without-mingle", *options]

    def ready(self, *, within: float = 30) -> Self:
        """Wait until it takes jobs."""
        return self.logged(f"{self.node} ready.", within=within)
