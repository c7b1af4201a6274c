"""What a test may not leave behind: threads of ours, child processes, transactions, keys without an end."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support import wait_until

#: Threads that outlive a test by design: they wait, as daemons, until they are needed again.
_STAY = ("ledger-watchdog", "ledger-connect", "celeriac-send")

#: Keys of the platform and of Celery's results, but for redbeat's entries, which stay.
_OURS = re.compile(
    r"(?:[\w./:-]+:)?(?:celeriac:(?!redbeat:)|celery-task-meta-|celery-taskset-meta-|chord-|unacked)"
)


_SERVERS = re.compile(r"/(postgres|valkey-server) ")


def threads() -> set[threading.Thread]:
    """Threads that a test could leave: those that keep the process alive, and ours."""
    ours = ("ledger", "keeper", "liveness", "probes")
    return {
        thread
        for thread in threading.enumerate()
        if not thread.name.startswith(_STAY) and (not thread.daemon or thread.name.startswith(ours))
    }


def children() -> set[int]:
    """The processes that this one has started and not waited for; none where there is no /proc."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found |= {int(pid) for pid in task.read_text().split()}
        except FileNotFoundError:  # the thread has ended meanwhile
            continue
    return found


def check_threads(before: set[threading.Thread]) -> None:
    """Fail when a thread is left that was not there before."""
    wait_until(lambda: not (threads() - before), within=5, saying="the threads of a test end")


def check_children(before: set[int]) -> None:
    """Fail when a process is left that was not there before, and is not of the whole session."""
    wait_until(lambda: not _left(before), within=5, saying=f"the processes of a module end: {_left(before)}")


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
    # One without a command has ended. Servers belong to fixtures, and may be restarted.
    # One without a command has ended, and is not waited for; servers belong to fixtures and may be restarted.
    return [command for command in found if command and not _SERVERS.search(command)]


def keys_without_an_end(client: Any) -> Iterable[str]:
    """Names of keys in a Redis database that would stay there for ever and are not meant to."""
    for key in client.scan_iter(count=1000):
        name = key.decode(errors="replace")
        if _OURS.match(name) and client.ttl(key) == -1:
            yield name


def open_transactions(url: str) -> list[str]:
    """What connections to a database of PostgreSQL last said that stand in a transaction and do nothing."""
    from tests.servers import connect

    with closing(connect(url)) as connection:
        found = connection.execute(
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() "
            "AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
        )
        return [query for (query,) in found.fetchall()]
