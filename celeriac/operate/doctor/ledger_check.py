"""Jobs in the ledger that should have made progress by now and have not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from celeriac.display import counted, length
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import health
from celeriac.operate import overview
from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_OVERDUE = timedelta(minutes=1)  # that a message may take to be sent, or to be claimed from an empty queue
_OLD = timedelta(minutes=15)  # that a job may be due before somebody should look
_LATELY = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    oldest: timedelta | None  # for how long the oldest due job has been due
    unsent: int  # due for long, no message sent
    unclaimed: Mapping[str, int]  # sent long ago, claimed by nobody; by queue
    in_broker: Mapping[str, int]  # messages; a queue that could not be asked about is missing
    orphans: int  # running, of workers that are dead
    failed: int  # dead letters of the last hour
    silent: int = 0  # running, of workers that fell silent, or died, a moment ago
    running: int = 0

    @property
    def stranded(self) -> int:
        """Jobs whose message must be gone: their queue is empty."""
        return sum(count for queue, count in self.unclaimed.items() if self.in_broker.get(queue) == 0)


def read(app: Celeriac) -> Facts:
    dead = timedelta(seconds=app.settings.worker_timeout)
    silence = 2 * dead  # others had the time to rescue them
    with app.database.reading() as connection:
        orphans = health.orphans(connection, silence=silence)
        oldest = health.oldest_due(connection)
        found = Facts(
            oldest=None if oldest is None else clock(connection) - oldest,
            unsent=health.unsent(connection, since=_OVERDUE),
            unclaimed=health.unclaimed(connection, since=_OVERDUE),
            in_broker={},
            orphans=orphans,
            failed=health.failed(connection, within=_LATELY),
            silent=max(health.orphans(connection, silence=dead) - orphans, 0),
            running=health.running(connection),
        )
    return _with_broker(app, found)


def _with_broker(app: Celeriac, found: Facts) -> Facts:
    lengths = overview.broker_lengths(sorted(found.unclaimed), app=app)
    return replace(found, in_broker=lengths)


def judge(facts: Facts) -> list[Finding]:
    return [_oldest(facts), _unsent(facts), _stranded(facts), _orphans(facts), _failed(facts)]


def _oldest(facts: Facts) -> Finding:
    if facts.oldest is None:
        return ok(Area.LEDGER, "oldest", "no job is due")
    sentence = f"the job that waits for the longest has been due for {length(facts.oldest)}"
    if facts.oldest > _OLD:
        remedy = "celery -A app jobs list --sort due --limit 1, then jobs explain; or more workers"
        return warn(Area.LEDGER, "oldest", sentence, remedy=remedy)
    return ok(Area.LEDGER, "oldest", sentence)


def _unsent(facts: Facts) -> Finding:
    if facts.unsent:
        sentence = (
            f"{counted(facts.unsent, 'job')} overdue: due for {length(_OVERDUE)}, and no message was sent"
        )
        return fail(
            Area.LEDGER, "overdue", sentence, remedy="start a worker, whose keeper sends them; see broker"
        )
    return ok(Area.LEDGER, "overdue", "every due job's message was sent")


def _stranded(facts: Facts) -> Finding:
    if facts.stranded:
        sentence = f"the messages of {counted(facts.stranded, 'job')} are in no queue any more"
        return warn(
            Area.LEDGER, "stranded", sentence, remedy="living workers send them again within a minute"
        )
    return ok(Area.LEDGER, "stranded", "no message is missing")


def _orphans(facts: Facts) -> Finding:
    if facts.orphans:
        sentence = f"{counted(facts.orphans, 'job')} running on workers that are dead"
        return fail(Area.LEDGER, "orphans", sentence, remedy="start a worker: its keeper gives them back")
    if facts.silent:
        sentence = f"{counted(facts.silent, 'job')} running on workers that fell silent a moment ago"
        remedy = "a living worker gives them back within seconds; see celery -A app workers"
        return warn(Area.LEDGER, "orphans", sentence, remedy=remedy)
    if not facts.running:
        return ok(Area.LEDGER, "orphans", "no job is running")
    return ok(Area.LEDGER, "orphans", "every running job has a live worker")


def _failed(facts: Facts) -> Finding:
    if facts.failed:
        sentence = f"{counted(facts.failed, 'dead letter')} of the last hour"
        return warn(Area.LEDGER, "dead letters", sentence, remedy="celery -A app dead-letters list")
    return ok(Area.LEDGER, "dead letters", "none of the last hour")
