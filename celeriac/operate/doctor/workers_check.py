"""Whether workers live, whether every queue has a consumer, whether all have one version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from celeriac import __version__
from celeriac.display import counted
from celeriac.ledger.upkeep.worker_rows import WorkerSeen
from celeriac.operate import overview
from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn
from celeriac.operate.overview import QueueStatus

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Waiting jobs of each queue that are looked at.
_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    workers: Sequence[WorkerSeen]  # those that live
    queues: Sequence[QueueStatus]
    version: str  # of this process
    shared: bool  # whether other machines can reach the database
    foreign: Sequence[str] = ()  # patterns of tasks whose code is elsewhere
    tasks: Collection[str] = ()  # that the workers know


def read(app: Celeriac) -> Facts:
    return Facts(
        workers=overview.live_workers(app=app),
        queues=overview.queues(known=overview.backlog(most=_MOST, app=app), app=app),
        version=__version__,
        shared=app.database.dialect != "sqlite",
        foreign=(patterns := app.settings.foreign_tasks),
        tasks=overview.tasks_of_workers(app=app) if patterns else (),
    )


def judge(facts: Facts) -> list[Finding]:
    if not facts.workers:
        return [fail(Area.WORKERS, "alive", "no worker lives", remedy="celery -A app worker")]
    slots = sum(worker.concurrency for worker in facts.workers)
    living = f"{counted(len(facts.workers), 'worker')} with room for {counted(slots, 'job')}"
    unread = list(_unread(facts))
    return [
        ok(Area.WORKERS, "alive", living),
        *(unread or [ok(Area.WORKERS, "queues", "every queue is drawn from")]),
        _versions(facts),
        *_machines(facts),
        *_foreign(facts),
    ]


def _unread(facts: Facts) -> Iterator[Finding]:
    for name, due, capped in _undrawn(facts.queues):
        sentence = f"no live worker draws from {name}"
        remedy = f"celery -A app worker -Q {name}"
        if due:
            least = "at least " if capped else ""
            text = f"{sentence}: {least}{counted(due, 'job')} due"
            yield fail(Area.WORKERS, "queues", text, remedy=remedy)
        else:
            yield warn(Area.WORKERS, "queues", sentence, remedy=remedy)


def _undrawn(queues: Sequence[QueueStatus]) -> Iterator[tuple[str, int, bool]]:
    """Whole lanes, or else levels, from which nobody draws; how many jobs are due; whether at least."""
    for lane, group in groupby(queues, key=attrgetter("lane")):
        levels = list(group)
        if any(queue.consumers for queue in levels):
            yield from ((queue.name, queue.due, queue.capped) for queue in levels if not queue.consumers)
        else:
            yield lane, sum(queue.due for queue in levels), any(queue.capped for queue in levels)


def _versions(facts: Facts) -> Finding:
    found = Counter(worker.version for worker in facts.workers)
    if set(found) != {facts.version}:
        versions = ", ".join(f"{version} ({count})" for version, count in sorted(found.items()))
        sentence = f"workers are of version {versions}, this is {facts.version}"
        return warn(Area.WORKERS, "versions", sentence, remedy="finish the rollout: restart the older ones")
    return ok(Area.WORKERS, "versions", f"all are of version {facts.version}")


def _foreign(facts: Facts) -> Iterator[Finding]:
    """Whether somebody can run the tasks whose code is elsewhere."""
    for pattern in facts.foreign:
        if not any(fnmatchcase(task, pattern) for task in facts.tasks):
            sentence = f"no live worker knows a task of {pattern!r} (CELERIAC_FOREIGN_TASKS)"
            remedy = "start a worker of the code that has it, with this ledger and broker"
            yield warn(Area.WORKERS, "foreign tasks", sentence, remedy=remedy)


def _machines(facts: Facts) -> Iterator[Finding]:
    machines = {worker.hostname.rpartition("@")[2] for worker in facts.workers}
    if len(machines) > 1 and not facts.shared:
        sentence = f"workers of {len(machines)} machines write one SQLite file"
        yield fail(Area.WORKERS, "machines", sentence, remedy="set DATABASE_URL to a PostgreSQL database")
