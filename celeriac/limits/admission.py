"""Decide which jobs are admitted: a function of what waits, what is in use and what the clock says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from celeriac.limits.breaker import Probes
from celeriac.limits.permits import Permit
from celeriac.limits.rate import AHEAD, Rate

#: A line whose next start is further away is looked at so long before it, so that several go at a time.
_EARLY = timedelta(seconds=0.15)


#: More than are admitted at once.
_MANY = 1_000_000


@dataclass(slots=True)
class Room:
    """What is left of one permit.

    Attributes:
        concurrency: None: any number may run.
        used: the weight of what is in use.
        rate: None: any number may start.
        next_start: of the rate.
        on_way: of the rate: the weight of what was sent and has not begun.
        shut: why nothing at all is admitted: a moment until then, or None for as long as it is said.
        is_shut: whether it is.
    """

    concurrency: int | None = None
    used: int = 0
    rate: Rate | None = None
    next_start: datetime | None = None
    on_way: int = 0
    shut: datetime | None = None
    is_shut: bool = False
    probes: Probes | None = None  # of a half-open limit: what may still be sent of all its keys
    reserved: bool = False  # a heavy job waits for what is free: lighter ones must not pass it for ever

    @property
    def slots(self) -> int:
        """How many jobs may be sent at most, each of weight 1."""
        if self.is_shut:
            return 0
        return _MANY if self.concurrency is None else max(0, self.concurrency - self.used)

    def takes(self, weight: int) -> bool:
        """Whether a job may be sent, whenever it starts."""
        if self.is_shut or (self.probes is not None and self.probes.left < 1):
            return False
        if self.concurrency is None:
            return True
        if self.reserved:
            return False
        # One that is heavier than all of it, since an operator made it smaller, runs alone.
        return self.used + min(weight, self.concurrency) <= self.concurrency

    def take(self, weight: int) -> None:
        self.used += weight
        if self.probes is not None:
            self.probes.left -= 1
        if self.rate is not None:
            self.on_way += self._starts(weight)

    def start(self, weight: int, now: datetime) -> datetime:
        """When a job may start, if all that was sent before starts in time."""
        if self.rate is None:
            return now
        first = self.rate.opens(self.next_start, now, self._starts(weight))
        return max(now, first + self.rate.every * self.on_way)

    def _starts(self, weight: int) -> int:
        return weight if self.rate is None else min(weight, self.rate.burst)


class Candidate(NamedTuple):
    """A job that waits in its line and is due."""

    id: UUID
    line: UUID
    priority: int
    permits: tuple[Permit, ...]


@dataclass(slots=True)
class Decision:
    """
    Attributes:
        admitted: in the order in which they go.
        blocked: lines that wait until something is given back of a permit.
        later: lines that are to be looked at again at a moment.
        idle: lines of which nothing can go until somebody says so.
        starts: of jobs that have a rate: when they are to start.
        crowded: permits of a rate that wait until workers begin what was sent.
    """

    admitted: list[Candidate] = field(default_factory=list)
    blocked: dict[UUID, str] = field(default_factory=dict)
    later: dict[UUID, datetime] = field(default_factory=dict)
    idle: set[UUID] = field(default_factory=set)
    starts: dict[UUID, datetime] = field(default_factory=dict)
    crowded: set[str] = field(default_factory=set)


def decide(
    lines: Sequence[Sequence[Candidate]],
    rooms: Mapping[str, Room],
    *,
    now: datetime,
    most: int,
    ahead: timedelta = AHEAD,
) -> Decision:
    """Admit what there is room for: the more important first, then line by line in turn.

    Args:
        lines: the candidates of each line, as they go; the lines in their turn.
        rooms: of every permit that a candidate takes. They are counted down.
        most: jobs that are admitted at once.
        ahead: how long before their start jobs are admitted.
    """
    decision, passed = Decision(), set[int]()  # the lines of which nothing more goes, by their turns
    for turn, job in _in_order(lines):
        if turn in passed:
            continue  # nothing of a line passes its head
        if len(decision.admitted) >= most:
            decision.later[job.line] = now
        elif _admit(job, rooms, decision, now=now, ahead=ahead):
            continue
        passed.add(turn)
    return decision


def _admit(
    job: Candidate, rooms: Mapping[str, Room], decision: Decision, *, now: datetime, ahead: timedelta
) -> bool:
    """Admit a job if its permits are free, and all its rates let it start soon; return whether they do."""
    paced = False
    for name, weight in job.permits:
        room = rooms[name]
        if not room.takes(weight):
            if room.shut is None:
                decision.blocked[job.line] = name
                room.reserved = True
            else:
                decision.later[job.line] = room.shut
            return False
        paced |= room.rate is not None
    if paced and not _plan_start(job, rooms, decision, now=now, ahead=ahead):
        return False
    for name, weight in job.permits:
        rooms[name].take(weight)
    decision.admitted.append(job)
    return True


def _plan_start(
    job: Candidate, rooms: Mapping[str, Room], decision: Decision, *, now: datetime, ahead: timedelta
) -> bool:
    """Note when a job starts, or when to look again if that is not soon; return whether it is."""
    planned = {name: rooms[name].start(weight, now) for name, weight in job.permits}
    start = max(planned.values())
    if start > now + ahead:
        decision.later[job.line] = start - min(_EARLY, ahead)
        decision.crowded |= {name for name in planned if rooms[name].on_way and rooms[name].rate}
        return False
    decision.starts[job.id] = start
    return True


def _in_order(lines: Iterable[Sequence[Candidate]]) -> list[tuple[int, Candidate]]:
    """All candidates with their lines' turns: by importance, then the first of each line, and so on."""
    ranked: list[tuple[int, int, int, Candidate]] = []
    for turn, jobs in enumerate(lines):
        places: dict[int, int] = {}
        for job in jobs:
            priority = job.priority
            place = places[priority] = places.get(priority, -1) + 1
            ranked.append((-priority, place, turn, job))
    ranked.sort()  # no two have the same first three
    return [each[2:] for each in ranked]
