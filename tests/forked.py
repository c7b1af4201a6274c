"""A pytest plugin: run the tests in several processes that are forked when all of them are collected.

    pytest --processes 4

pytest-xdist has each of its processes import and collect every test, which takes each of them ten seconds of
a processor and more. Here that is done once, and a new process costs nothing. The tests of a file run in one
process, which asks for the next file when it begins the last test of the one before; the slowest files go
first, as far as earlier runs have told. A process that dies is one failed test; another goes on with the
rest.

As under xdist, PYTEST_XDIST_WORKER and PYTEST_XDIST_WORKER_COUNT tell a process which one it is.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections import defaultdict
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import pytest

_PR_SET_PDEATHSIG = 1
_DURATIONS = "celeriac/seconds"  # of each file, in pytest's cache
#: Where no earlier run has told: what stands in the first place takes longest, by the test.
_SLOWEST = ("tests/acceptance", "tests/simulation", "tests/browser", "tests/contrib", "tests/integration")
_LOOK = 1.0  # seconds between two looks whether a process has died
_FAREWELL = 60.0  # seconds that a process has to end its tests when the run is given up


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("forked")
    group.addoption("--processes", type=int, default=0, help="run the tests in so many forked processes")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    count = session.config.getoption("processes")
    if not count or session.config.getoption("collectonly") or session.testsfailed:
        return None  # pytest's own loop, which also says that the collection has failed
    _Run(session, count).run()
    return True


class _Run:
    """The tests of a session, by their place in its list, and the processes that run them."""

    def __init__(self, session: pytest.Session, count: int) -> None:
        self.session, self.config = session, session.config
        self.files = _by_file(session)
        self.count = min(count, len(self.files))
        self.children: dict[Connection, _Child] = {}
        self.seconds: dict[str, float] = defaultdict(float)
        self.stopping = False

    def run(self) -> None:
        terminal: Any = self.config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None:
            terminal.showfspath = False  # of files that take turns
        alone = [thread.name for thread in threading.enumerate()]
        assert len(alone) == 1, f"a fork would lack these threads: {alone}"
        gc.collect()
        gc.freeze()  # or the first collection of a fork would copy all that it shares
        try:
            for number in range(self.count):
                self._fork(number, self.files.pop(0))
            while self.children:
                for ready in wait(list(self.children), timeout=_LOOK):
                    assert isinstance(ready, Connection)
                    self._listen(self.children[ready])
                for child in [each for each in self.children.values() if each.ended()]:
                    while child.connection in self.children and child.connection.poll():
                        self._listen(child)  # what it said before
                    if child.connection in self.children:
                        self._gone(child)
        finally:
            self._stop()
            for child in list(self.children.values()):
                child.end()
            gc.unfreeze()
        self._remember()
        if self.session.shouldfail:
            raise self.session.Failed(self.session.shouldfail)
        if self.session.shouldstop:
            raise self.session.Interrupted(self.session.shouldstop)

    def _fork(self, number: int, rest: list[int]) -> None:
        """Start a process, which begins with ``rest``."""
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            for other in self.children:
                other.close()
            ours.close()
            _Tests(self.session, theirs).run(f"gw{number}", self.count)
        theirs.close()
        self.children[ours] = _Child(pid, ours, number, rest)

    def _listen(self, child: _Child) -> None:
        try:
            kind, *said = child.connection.recv()
        except (EOFError, OSError):
            self._gone(child)
            return
        if kind == "next":
            child.give(self._next(child))
        elif kind == "start":
            child.runs(said[0])
            item = self.session.items[said[0]]
            self.config.hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        elif kind == "report":
            report = self.config.hook.pytest_report_from_serializable(config=self.config, data=said[0])
            self._count(report)
            self.config.hook.pytest_runtest_logreport(report=report)
        elif kind == "finish":
            child.running = None
            item = self.session.items[said[0]]
            self.config.hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        elif kind == "warning":
            message, values = said
            self.config.hook.pytest_warning_recorded.call_historic(
                kwargs={"warning_message": warnings.WarningMessage(**message), **values}
            )
        if self.session.shouldfail or self.session.shouldstop:
            self._stop()

    def _next(self, child: _Child) -> list[int]:
        if self.stopping:
            return []
        rest, child.rest = child.rest, []
        return rest or (self.files.pop(0) if self.files else [])

    def _stop(self) -> None:
        """Have each process end with the test that it is at."""
        if not self.stopping:
            self.stopping = True
            for child in self.children.values():
                child.give(None)

    def _gone(self, child: _Child) -> None:
        """A process has ended: when it had nothing more to do, or in the middle of a test."""
        del self.children[child.connection]
        child.connection.close()
        code = child.wait()
        if child.running is not None:
            self._report_death(child.running, code)
        elif code:
            raise pytest.exit.Exception(f"a process of the tests ended with {code} between two of them", 3)
        left = [*child.rest, *child.given]
        if (left or (child.running is not None and self.files)) and not self.stopping:
            self._fork(child.number, left)

    def _report_death(self, test: int, code: int) -> None:
        item = self.session.items[test]
        said = f"the process of this test ended with {code}"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", said, "call")
        self.config.hook.pytest_runtest_logreport(report=report)

    def _count(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.partition("::")[0]] += report.duration

    def _remember(self) -> None:
        cache = getattr(self.config, "cache", None)  # there may be no plugin for it
        if cache is not None and not self.stopping:
            known = cache.get(_DURATIONS, {})
            cache.set(_DURATIONS, known | {file: round(spent, 2) for file, spent in self.seconds.items()})


class _Child:
    """A process, as the one that has forked it knows it.

    ``given`` are the tests that it was given and has not begun, ``rest`` those that it is to be given next.
    """

    def __init__(self, pid: int, connection: Connection, number: int, rest: list[int]) -> None:
        self.pid, self.connection, self.number, self.rest = pid, connection, number, rest
        self.given: list[int] = []
        self.running: int | None = None
        self._code: int | None = None

    def give(self, tests: list[int] | None) -> None:
        self.given += tests or []
        with suppress(OSError):  # it has ended, which is found out in its turn
            self.connection.send(tests)

    def runs(self, test: int) -> None:
        self.running = test
        self.given.remove(test)

    def ended(self) -> bool:
        """Whether it has; what it has forked may keep its end of the connection open."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code is not None

    def wait(self) -> int:
        """Its exit code; negative for a signal."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def end(self) -> None:
        """Wait for it, and kill it when it does not end."""
        until = time.monotonic() + _FAREWELL
        while not self.ended():
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
            try:
                if self.connection.poll(_LOOK):
                    self.connection.recv()  # or it could not go on
            except (EOFError, OSError):
                time.sleep(0.01)


class _Tests:
    """What a forked process does: it runs the tests that it is given, and sends what becomes of them."""

    def __init__(self, session: pytest.Session, connection: Connection) -> None:
        self.session, self.config, self.connection = session, session.config, connection
        self.stopped = False

    def run(self, name: str, count: int) -> None:
        """Does not return."""
        status = 1
        try:
            self._settle(name, count)
            self._work()
            status = 0
        except (EOFError, OSError, KeyboardInterrupt):
            pass  # the other end has gone, or all of us were interrupted
        except BaseException:  # nothing may return into the fork's copy of pytest
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(BaseException):
                self.session._setupstate.teardown_exact(None)
            with suppress(BaseException):
                atexit._run_exitfuncs()  # each of ours looks whether it was registered by this process
            os._exit(status)

    def _settle(self, name: str, count: int) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        os.environ["PYTEST_XDIST_WORKER"] = name
        os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(count)
        plugins = self.config.pluginmanager
        capture: Any = plugins.getplugin("capturemanager")
        capture.stop_global_capturing()  # into files that are the parent's
        capture.start_global_capturing()
        capture.suspend_global_capture()
        for plugin in ("terminalreporter", "junitxml"):
            if plugins.hasplugin(plugin):
                plugins.unregister(name=plugin)
        plugins.register(self, "forked-tests")
        factory: Any = self.config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp = factory.getbasetemp() / name  # as under xdist, within what all have
        factory._basetemp.mkdir(exist_ok=True)

    def _work(self) -> None:
        tests = self._ask()
        while tests:
            for place, test in enumerate(tests):
                following = tests[place + 1 :] or self._ask()  # whose first test tells what fixtures stay
                after = self.session.items[following[0]] if following else None
                self.connection.send(("start", test))
                item = self.session.items[test]
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                self.connection.send(("finish", test))
                if self.stopped or self.connection.poll():
                    return
            tests = following

    def _ask(self) -> list[int]:
        self.connection.send(("next",))
        found: list[int] | None = self.connection.recv()
        self.stopped = self.stopped or found is None
        return found or []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.connection.send(("report", data))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        names = ("message", "category", "filename", "lineno")
        message = {name: getattr(warning_message, name) for name in names}
        try:
            pickle.dumps(message)
        except Exception:  # whatever a warning holds
            message |= {"message": UserWarning(str(warning_message.message)), "category": UserWarning}
        self.connection.send(("warning", message, {"when": when, "nodeid": nodeid, "location": location}))


def _by_file(session: pytest.Session) -> list[list[int]]:
    """The places of the tests of each file, the slowest first."""
    found: dict[str, list[int]] = {}
    for place, item in enumerate(session.items):
        found.setdefault(item.nodeid.partition("::")[0], []).append(place)
    cache = getattr(session.config, "cache", None)
    known: dict[str, float] = cache.get(_DURATIONS, {}) if cache is not None else {}

    def weight(file: str) -> tuple[float, int, int]:
        rank = next((place for place, start in enumerate(_SLOWEST) if file.startswith(start)), len(_SLOWEST))
        return -known.get(file, 0.0), rank, -len(found[file])

    return [found[file] for file in sorted(found, key=weight)]
