"""The figures of small charts: a queue's within an hour, a cause's and a schedule's within a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import ended_counts as ledger
from celeriac.ledger.reads.ended_counts import Window
from celeriac.ledger.reads.ended_rows import Ended
from celeriac.ledger.reads.schedule_fires import fires
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.dead_letters import Cause
from celeriac.operate.history.series import RANGES, first_step, steps
from celeriac.operate.history.skips import Skipped

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Lines of failures, by hour and cause; the largest.
_MOST_LINES = 20_000

#: Jobs of a schedule, the newest: more than one every twenty seconds makes in a day.
_MOST_FIRES = 5_000

_A_FEW = 5  # failures within an hour; fewer are no growth

_HOURS, _AN_HOUR = 24, timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Day:
    """What was in each of the last 24 hours, the present one at the end.

    Attributes:
        since: when the first of them began.
        whole: False: there were more than are looked at, and the earlier hours lack some.
        skipped: whether a due time was passed over.
    """

    since: datetime
    made: list[int]
    failed: list[int]
    whole: bool
    skipped: list[bool]


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
        since = _first_hour(now)
        found = ledger.failures(connection, since=since, step=3_600, most=_MOST_LINES)
    causes: dict[str, list[int]] = {}
    for each in found:
        key = Cause(task=each.task, exception_type=each.exception_type, frame=each.frame).key
        hours = causes.setdefault(key, [0] * _HOURS)
        place = (each.began - since) // _AN_HOUR
        if place < len(hours):
            hours[place] += each.attempts
    return causes


def of_schedule(name: str, skips: Sequence[Skipped] = (), *, app: Celeriac | None = None) -> Day:
    """How many jobs a schedule made, and how many of these failed.

    Args:
        skips: the due times that it passed over.
    """
    with current_app(app).database.reading() as connection:
        since = _first_hour(clock(connection))
        found = fires(connection, name, since=since, most=_MOST_FIRES)
    hours = [since + place * _AN_HOUR for place in range(_HOURS)]
    missed = [any(one.first < hour + _AN_HOUR and one.last >= hour for one in skips) for hour in hours]
    day = Day(since, [0] * _HOURS, [0] * _HOURS, whole=len(found) < _MOST_FIRES, skipped=missed)
    for each in found:
        place = min((each.queued - since) // _AN_HOUR, _HOURS - 1)
        day.made[place] += 1
        day.failed[place] += each.state == JobState.FAILED
    return day


def is_growing(hours: Sequence[int]) -> bool:
    """Whether there was clearly more of it lately than in the hours before.

    Args:
        hours: how many there were in each hour, the present one, which is not over, at the end.

    >>> is_growing([2] * 22 + [9, 1]), is_growing([2] * 24), is_growing([0] * 23 + [3])
    (True, False, False)
    """
    *before, last, present = hours
    return max(last, present) >= _A_FEW and max(last, present) * len(before) > 2 * sum(before)


def _first_hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0) - (_HOURS - 1) * _AN_HOUR
