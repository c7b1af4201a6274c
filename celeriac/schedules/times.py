"""Compute due times. Pure functions: every time is an argument.

An interval is counted from its first due time, so it cannot drift. A cron expression is read in local time of
its zone. A local time that a clock change skips is due right after the gap. One that occurs twice is due the
first time only. An expression that names every hour follows elapsed time instead: it is due at both
occurrences, and never for a skipped time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celeriac.ledger.schema.columns import LATEST
from celeriac.schedules import cron

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
#: Zones that differ between machines: a machine's own zone, or its fallback rules.
_OF_THE_MACHINE = frozenset({"localtime", "posixrules", "Factory"})

_TICK = timedelta(microseconds=1)


class Kind(StrEnum):
    """What a schedule's due times follow from: ``every``, ``cron`` or ``at``.

    >>> Kind("cron")
    <Kind.CRON: 'cron'>
    """

    INTERVAL = "interval"  # counted from the first due time
    CRON = "cron"  # read on the clock of its time zone
    ONCE = "once"  # one moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What due times are computed from.

    Attributes:
        expression: seconds of an interval, a cron expression, or a moment (ISO 8601).
        anchor: the first due time of an interval.
        starts: no due time before it; None: from the anchor on.
        ends: no due time after it; None: for ever.
    """

    kind: Kind
    expression: str
    zone: str
    anchor: datetime
    starts: datetime | None = None
    ends: datetime | None = None

    def after(self, moment: datetime) -> datetime | None:
        """The first due time after ``moment``; None when there is none to come."""
        return next(self.upcoming(moment), None)

    def upcoming(self, moment: datetime) -> Iterator[datetime]:
        """The due times after ``moment``, one after the other, in UTC."""
        if self.starts is not None and moment < self.starts:
            moment = self.starts - _TICK
        last = LATEST if self.ends is None else self.ends
        for due in self._unbounded(moment.astimezone(UTC)):
            if due > last:
                return
            yield due

    def latest(self, first: datetime, until: datetime, *, limit: int) -> list[datetime]:
        """The newest ``limit`` due times from ``first`` to ``until``, both included, the oldest first.

        The search goes back from the end in steps that double, because a schedule may be years behind.
        """
        window = _SECOND
        while True:
            begin = max(first, until - window)
            found = list(takewhile(lambda due: due <= until, self.upcoming(begin - _TICK)))
            if len(found) >= limit or begin == first:
                return found[-limit:]
            window *= 2

    def _unbounded(self, moment: datetime) -> Iterator[datetime]:
        if self.kind is Kind.INTERVAL:
            return _intervals(self.anchor, timedelta(seconds=float(self.expression)), moment)
        if self.kind is Kind.ONCE:
            at = datetime.fromisoformat(self.expression).astimezone(UTC)
            return iter([at] if at > moment else [])
        return _crons(cron.parse(self.expression), zone(self.zone), moment)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        ValueError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a directory, a path that leads out, …
        raise ValueError(f"wanted a time zone such as Europe/Berlin, found {name!r}") from None


def named_zone(name: str) -> ZoneInfo:
    """The time zone of that name, the same one on every machine.

    Raises:
        ValueError: there is none, or it differs between machines.
    """
    if name in _OF_THE_MACHINE or name.startswith(("posix/", "right/")):
        raise ValueError(f"wanted a zone such as Europe/Berlin, found {name!r}, which machines differ in")
    return zone(name)


def instant(wall: datetime, place: ZoneInfo) -> datetime:
    """The instant of the naive local time ``wall`` in ``place``; the first one if it occurs twice.

    For a local time that is skipped, the instant right after the gap.

    >>> instant(datetime(2026, 3, 29, 2, 30), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-03-29T01:00:00+00:00'
    """
    moment = wall.replace(tzinfo=place).astimezone(UTC)
    if moment.astimezone(place).replace(tzinfo=None) == wall:
        return moment
    # In a gap, Python uses the offset from before the gap, so this instant lies after the gap.
    return _change(wall.replace(tzinfo=place, fold=1).astimezone(UTC), moment, place)


def _intervals(anchor: datetime, every: timedelta, moment: datetime) -> Iterator[datetime]:
    number = max(0, (moment - anchor) // every + 1)
    while True:
        yield anchor + number * every
        number += 1


def _crons(expression: cron.Cron, place: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    found = _by_real_time if expression.every_hour else _by_the_clock
    try:
        yield from found(expression, place, moment)
    except OverflowError:  # the end of the calendar
        return


def _by_the_clock(expression: cron.Cron, place: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    for wall in expression.after(_wall(moment, place)):
        due = instant(wall, place)
        if due > moment:  # else it was due at the first occurrence, or fell into the same gap
            moment = due
            yield due


def _by_real_time(expression: cron.Cron, place: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    wall, offset = _wall(moment, place), _offset(moment, place)
    change: datetime | None = moment
    while change is not None:
        change = None
        for shown in expression.after(wall):
            due = (shown - offset).replace(tzinfo=UTC)
            if (change := _first_change(moment, due, place)) is not None:
                moment, wall, offset = change, _wall(change, place) - _SECOND, _offset(change, place)
                break
            moment = due
            yield due


def _first_change(after: datetime, until: datetime, place: ZoneInfo) -> datetime | None:
    """The first moment in (after, until] at which the clocks of ``place`` are changed."""
    offset = _offset(after, place)
    while after < until:
        step = min(after + _DAY, until)
        if _offset(step, place) != offset:
            return _change(after, step, place)
        after = step
    return None


def _change(before: datetime, after: datetime, place: ZoneInfo) -> datetime:
    """The moment in (before, after] from which on the offset is that of ``after``; whole seconds."""
    offset = _offset(after, place)
    low, high = before.replace(microsecond=0), (after + _SECOND - _TICK).replace(microsecond=0)
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (low, middle) if _offset(middle, place) == offset else (middle, high)
    return high


def _wall(moment: datetime, place: ZoneInfo) -> datetime:
    return moment.astimezone(place).replace(tzinfo=None)


def _offset(moment: datetime, place: ZoneInfo) -> timedelta:
    offset = moment.astimezone(place).utcoffset()
    assert offset is not None
    return offset
