"""A pytest plugin: a test that hangs fails, and it is the only one that does.

By itself, pytest-timeout raises wherever its alarm strikes, also in a hook of pytest, Hypothesis or xdist,
where an exception ends the whole run. Here the alarm is set only while the runner is inside the set-up, the
call or the tear-down of a test, and each of the three has the test's whole time: a tear-down that follows a
time-out can still clean up. It strikes again until that has ended, since a test may swallow it.

Code that never returns to the interpreter hears no alarm. A watchdog then prints every stack and ends the
process: under xdist that is one failed test, and a new process goes on with the others.
"""

from __future__ import annotations

import faulthandler
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key  # the real standard error, not the captured one
from pytest_timeout import is_debugging  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from _pytest.fixtures import SubRequest

_bound = pytest.StashKey[float]()


class TimedOut(BaseException):
    """No Exception, and not pytest's own Failed: Hypothesis would look for the shortest way to that."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("watchdog", "seconds beyond three timeouts after which the process is ended", default="60")


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """In place of pytest-timeout's own timer, but for those who ask for ``--timeout-method thread``."""
    if settings.method != "signal" or threading.current_thread() is not threading.main_thread():
        return None
    item.stash[_bound] = settings.timeout
    _watch(item)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool | None:
    if _bound not in item.stash:
        return None
    faulthandler.cancel_dump_traceback_later()
    return True


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _bounded(item):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with _bounded(
        item, raising=pytest.fail.Exception
    ):  # after which pytest finalizes the other fixtures, too
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    try:
        return (yield)
    except TimedOut as exc:  # of which pytest takes no note; the next test that asks for it tries again
        fixturedef.cached_result = (None, None, (exc, exc.__traceback__))
        fixturedef.finish(cast("SubRequest", request))
        raise


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, object, object]:
    _silence()  # an alarm may have struck between the end of the test and the end of its alarm
    return (yield)


@contextmanager
def _bounded(item: pytest.Item, *, raising: type[BaseException] = TimedOut) -> Iterator[None]:
    if _bound not in item.stash:
        yield
        return
    inside, bound = True, item.stash[_bound]

    def strike(*_: object) -> None:
        if inside and not is_debugging():
            raise raising(f"timed out after {bound:g} seconds")

    _watch(item)
    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, bound, bound)
    try:
        yield
    finally:
        inside = False
        _silence()


def _silence() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _watch(item: pytest.Item) -> None:
    after = 3 * item.stash[_bound] + float(item.config.getini("watchdog"))
    stderr = item.config.stash.get(fault_handler_stderr_fd_key, 2)
    faulthandler.dump_traceback_later(after, exit=True, file=stderr)
