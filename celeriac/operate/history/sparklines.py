"""The figures of small charts: of each queue within an hour, of each cause of failure within a day."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import ended_counts as ledger
from celeriac.ledger.reads.ended_counts import Window
from celeriac.ledger.reads.ended_rows import Ended
from celeriac.operate.dead_letters import Cause
from celeriac.operate.history.series import RANGES, first_step, steps

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Lines of failures, by hour and cause; the largest.
_MOST_LINES = 20_000

_HOURS, _AN_HOUR = 24, timedelta(hours=1)


def by_queue(*, app: Celeriac | None = None) -> dict[str, tuple[list[int], list[int]]]:
    """Of each queue, how many jobs ended and how many failed within each minute of the last hour."""
    step = RANGES["1h"][1]
    with current_app(app).database.reading() as connection:
        now = clock(connection)
        window = Window(since=first_step(now, "1h"), step=step, by="queue")
        found = ledger.sums(connection, window, clock=now)
    every = steps(window.since, step, now)
    queues: dict[str, tuple[list[int], list[int]]] = {}
    for each in found:
        ended, failed = queues.setdefault(each.key, ([0] * len(every), [0] * len(every)))
        place = (each.began - window.since) // timedelta(seconds=step)
        if each.outcome is not Ended.RETRIED and place < len(every):
            ended[place] += each.attempts
            failed[place] += each.attempts if each.outcome is Ended.FAILED else 0
    return queues


def by_cause(*, app: Celeriac | None = None) -> dict[str, list[int]]:
    """Of each cause of failure, by its key, the attempts that failed in each of the last 24 hours."""
    with current_app(app).database.reading() as connection:
        now = clock(connection)
        since = now.replace(minute=0, second=0, microsecond=0) - (_HOURS - 1) * _AN_HOUR
        found = ledger.failures(connection, since=since, step=3_600, most=_MOST_LINES)
    causes: dict[str, list[int]] = {}
    for each in found:
        key = Cause(task=each.task, exception_type=each.exception_type, frame=each.frame).key
        hours = causes.setdefault(key, [0] * _HOURS)
        place = (each.began - since) // _AN_HOUR
        if place < len(hours):
            hours[place] += each.attempts
    return causes
