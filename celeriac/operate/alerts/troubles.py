"""What is wrong now: failures, late queues, silent workers, late and skipped schedules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

from celeriac.display import counted, length, safe
from celeriac.names import NAME_LENGTH
from celeriac.operate import dead_letters, overview
from celeriac.operate.alerts.mutes import in_force, muted
from celeriac.operate.dead_letters import Cause, Group
from celeriac.operate.doctor import schedules_check
from celeriac.operate.overview import QueueStatus, WorkerStatus
from celeriac.settings.alerts import queue_ages

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: A group of failures is of now while its last one is so young.
FRESH = timedelta(hours=1)

_FAILURES = "failures"
_MOST = 1_000  # groups
_NAME = 80  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    key: str  # the same as long as it is the same trouble
    kind: str  # failures, queue, worker or schedule
    sentence: str
    path: str  # of the console's page that shows the cause
    size: int = 0  # dead letters of a group; 0: it cannot grow


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that is wrong now, and the keys of what is muted, whether it is wrong or not."""

    troubles: Sequence[Trouble]
    muted: frozenset[str]


def find(app: Celeriac) -> Found:
    """Everything that is wrong now."""
    schedules = schedules_check.read(app)
    groups = dead_letters.groups(limit=_MOST, app=app)
    limits = queue_ages(app.settings.alert_queue_age)
    workers = overview.list_workers(app=app)
    found = [
        *failures(groups, schedules.clock),
        *late_queues(overview.queues(app=app), limits),
        *silent_workers(workers),
        *troubled_schedules(schedules),
    ]
    mutes = in_force(muted(app=app), groups)
    return Found(found, frozenset(f"{_FAILURES}:{key}" for key in mutes))


def failures(groups: Sequence[Group], now: datetime) -> Iterator[Trouble]:
    """Groups of dead letters that got another one lately."""
    for group in groups:
        if now - group.last > FRESH:
            continue
        key, task = Cause.of(group).key, safe(group.task, length=_NAME)
        error = safe(group.exception_type or "an unknown error", length=_NAME)
        place = f" at {safe(group.frame, length=_NAME)}" if group.frame else ""
        sentence = f"{task} fails with {error}{place}: {counted(group.count, 'dead letter')}"
        yield Trouble(
            key=f"{_FAILURES}:{key}", kind=_FAILURES, sentence=sentence, path=f"/dead/{key}", size=group.count
        )


def late_queues(queues: Sequence[QueueStatus], limits: Mapping[str, float]) -> Iterator[Trouble]:
    """Queues whose oldest due job waits for longer than it may."""
    for queue in queues:
        limit = next((limits[name] for name in (queue.name, queue.lane, "") if name in limits), 0.0)
        if queue.oldest is not None and queue.oldest.total_seconds() > limit:
            name = safe(queue.name, length=_NAME)
            drawn = "" if queue.consumers else "; no live worker draws from it"
            sentence = (
                f"queue {name} is late: its oldest job is due for {length(queue.oldest)}, "
                f"{counted(queue.due, 'job')} wait{drawn}"
            )
            yield Trouble(key=_key("queue", queue.name), kind="queue", sentence=sentence, path="/queues")


def silent_workers(workers: Sequence[WorkerStatus]) -> Iterator[Trouble]:
    """Workers that are silent, unless another one of their name lives."""
    living = {status.worker.hostname for status in workers if status.state == "alive"}
    for status in workers:
        if status.state == "silent" and status.worker.hostname not in living:
            name = safe(status.worker.hostname, length=_NAME)
            held = f"; it holds {counted(status.worker.running, 'job')}" if status.worker.running else ""
            sentence = f"worker {name} is silent for {length(status.worker.silent)}{held}"
            yield Trouble(key=f"worker:{status.worker.id}", kind="worker", sentence=sentence, path="/workers")


def troubled_schedules(facts: schedules_check.Facts) -> Iterator[Trouble]:
    """Schedules that are late, or whose last due time was not fired."""
    for each in facts.schedules:
        name = safe(each.name, length=_NAME)
        if each.next_run is not None and facts.clock - each.next_run > facts.grace:
            sentence = f"schedule {name} is late by {length(facts.clock - each.next_run)}"
        elif each.trouble is not None:
            sentence = f"schedule {name} was skipped: {safe(each.trouble, length=200)}"
        else:
            continue
        path = f"/schedules/{quote(each.name)}"
        yield Trouble(key=_key("schedule", each.name), kind="schedule", sentence=sentence, path=path)


def _key(kind: str, name: str) -> str:
    """The key of a trouble with a thing of this name.

    >>> _key("queue", "low"), len(_key("queue", "q" * 255))
    ('queue:low', 70)
    """
    key = f"{kind}:{name}"
    return key if len(key) <= NAME_LENGTH else f"{kind}:{sha256(name.encode()).hexdigest()}"
