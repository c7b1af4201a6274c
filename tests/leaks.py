"""What a test may not leave behind: threads, connections, processes, transactions, keys without an end.

A pytest plugin for the first three: the test that leaves one fails, and not a later one that suffers from it.
Connections without an owner are closed here when a module ends: Celery and redis-py leave some to the garbage
collector, which comes in the middle of a later test.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from tests import fork_server
from tests.support import wait_until

#: Threads that outlive a test by design: they wait, as daemons, until they are needed again.
_STAY = ("ledger-watchdog", "ledger-connect", "celeriac-send", "celeriac-asyncio")

#: Keys of the platform and of Celery's results, but for redbeat's entries, which stay.
_OURS = re.compile(
    r"(?:[\w./:-]+:)?(?:celeriac:(?!redbeat:)|celery-task-meta-|celery-taskset-meta-|chord-|unacked)"
)


_SERVERS = re.compile(r"/(postgres|valkey-server) ")


class Opened(NamedTuple):
    """A connection to a database, and what pytest was at when SQLAlchemy opened it."""

    driver: Any
    by: str


#: Connections of this process that its engines have opened and not closed, by the identity of the driver's
#: own. They are held here: the garbage collector would close one in the middle of a later test.
_OPEN: dict[int, Opened] = {}

#: Those that a test has left; held, so that nobody closes them.
_LEFT: list[Opened] = []

#: Connected sockets of this process, held so that their owners close them and not the garbage collector.
_SOCKETS: list[socket.socket] = []

_HELD_BY_US = 2  # references: the list's, and that of the call which counts

#: The names of the fixtures of a module that are in force.
_SHARED: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("lingering", "seconds for a test's threads and processes to end after it", default="5")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Count the fixtures in force that the tests of a module share."""
    if fixturedef.scope == "module" and fixturedef.argname != _nothing_is_left_of_a_module.__name__:
        _SHARED.append(fixturedef.argname)
        fixturedef.addfinalizer(lambda: _SHARED.remove(fixturedef.argname))
    return (yield)


@pytest.fixture(autouse=True)
def _nothing_is_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """Threads and connections, test by test.

    An app that tests share connects during one of them: such a connection is judged when the module ends.
    """
    before, opened = threads(), connections()
    yield
    check_threads(before, within=float(pytestconfig.getini("lingering")))
    if not _SHARED:
        check_connections(opened)


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left_of_a_module(pytestconfig: pytest.Config) -> Iterator[None]:
    """Processes and connections when the module ends: its tests may share some."""
    before, opened = children(), connections()
    yield
    check_children(before, within=float(pytestconfig.getini("lingering")))
    check_connections(opened)
    close_sockets()


@event.listens_for(Pool, "connect")
def _remember(driver: Any, entry: object) -> None:
    _OPEN[id(driver)] = Opened(driver, os.environ.get("PYTEST_CURRENT_TEST", "no test"))


@event.listens_for(Pool, "close")
def _forget(driver: Any, entry: object) -> None:
    _OPEN.pop(id(driver), None)


@event.listens_for(Pool, "close_detached")
def _forget_detached(driver: Any) -> None:
    _OPEN.pop(id(driver), None)


def connections() -> set[int]:
    """The connections of this process's engines that are open."""
    for key, one in list(_OPEN.items()):
        if getattr(one.driver, "closed", False):  # not by its pool, as when a watchdog cuts it
            del _OPEN[key]
    return set(_OPEN)


def check_connections(before: set[int]) -> None:
    """Fail when a connection is open that was not open before.

    It is left as it is: SQLite ends the process when one is closed in which another thread is at work.
    """
    left = [_OPEN.pop(key) for key in connections() - before]
    _LEFT.extend(left)
    assert not left, f"connections that no engine closed: {[(one.driver, one.by) for one in left]}"


def _hold(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook, which Python calls before a socket connects."""
    if event == "socket.connect":
        _SOCKETS.append(args[0])


sys.addaudithook(_hold)


def close_sockets() -> None:
    """Close the connections that nobody owns any more."""
    _SOCKETS[:] = [each for each in _SOCKETS if each.fileno() != -1]
    for place in reversed(range(len(_SOCKETS))):
        if sys.getrefcount(_SOCKETS[place]) == _HELD_BY_US:
            _SOCKETS.pop(place).close()


def threads() -> set[threading.Thread]:
    """Threads that a test could leave: those that keep the process alive, and ours."""
    ours = ("ledger", "keeper", "liveness", "probes")
    return {
        thread
        for thread in threading.enumerate()
        if not thread.name.startswith(_STAY) and (not thread.daemon or thread.name.startswith(ours))
    }


def children() -> set[int]:
    """The processes that this one has started and not waited for; none where there is no /proc.

    The fork servers are none of them; those that they have forked are.
    """
    servers = fork_server.pids()
    found = _children_of("self") - servers
    return found.union(*map(_children_of, servers))


def _children_of(pid: int | str) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found |= {int(pid) for pid in task.read_text().split()}
        except FileNotFoundError:  # the thread has ended meanwhile
            continue
    return found


def check_threads(before: set[threading.Thread], *, within: float) -> None:
    """Fail when a thread is left that was not there before."""
    wait_until(lambda: not (threads() - before), within=within, saying="the threads of a test end")


def check_children(before: set[int], *, within: float) -> None:
    """Fail when a process is left that was not there before, and is not of the whole session."""
    saying = f"the processes of a module end: {_left(before)}"
    wait_until(lambda: not _left(before), within=within, saying=saying)


def _left(before: set[int]) -> list[str]:
    """The commands of those processes that are left."""
    found = []
    for pid in children() - before:
        try:
            found.append(
                Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except FileNotFoundError:  # ended meanwhile
            continue
    # One without a command has ended, and is not waited for; servers belong to fixtures and may be restarted.
    return [command for command in found if command and not _SERVERS.search(command)]


def keys_without_an_end(client: Any) -> Iterable[str]:
    """Names of keys in a Redis database that would stay there for ever and are not meant to."""
    for key in client.scan_iter(count=1000):
        name = key.decode(errors="replace")
        if _OURS.match(name) and client.ttl(key) == -1:
            yield name


def open_transactions(url: str, *, within: float = 5.0) -> list[str]:
    """What connections to a database of PostgreSQL last said that stand in a transaction and do nothing.

    A worker that still runs is between two statements at times: only a transaction that stands for
    ``within`` seconds has been left.
    """
    from sqlalchemy import make_url

    from tests.servers import connect

    with closing(connect(url)) as connection:
        return left_open(connection, str(make_url(url).database), within=within)


def left_open(connection: Any, database: str, *, within: float = 5.0) -> list[str]:
    """As ``open_transactions``, over a connection to the same server."""

    def standing() -> dict[tuple[object, ...], str]:
        found = connection.execute(
            "SELECT pid, xact_start, query FROM pg_stat_activity WHERE datname = %s "
            "AND state LIKE 'idle in transaction%%' AND pid <> pg_backend_pid()",
            [database],
        )
        return {(pid, began): query for pid, began, query in found.fetchall()}

    left, until = standing(), time.monotonic() + within
    while left and time.monotonic() < until:
        time.sleep(0.05)
        now = standing()
        left = {which: query for which, query in left.items() if which in now}
    return list(left.values())
