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
        if self.probes is not None and self.probes.left < 1:
            return False
        return not self.is_shut and self._has_slots(weight)

    def take(self, weight: int) -> None:
        self.used += weight
        if self.probes is not None:
            self.probes.left -= 1
        self.on_way += self._starts(weight)

    def start(self, weight: int, now: datetime) -> datetime:
        """When a job may start, if all that was sent before starts in time."""
        if self.rate is None:
            return now
        first = self.rate.opens(self.next_start, now, self._starts(weight))
        return max(now, first + self.rate.every * self.on_way)

    def _has_slots(self, weight: int) -> bool:
        if self.concurrency is None:
            return True
        if self.reserved:
            return False
        # One that is heavier than all of it, since an operator made it smaller, runs alone.
        return self.used + min(weight, self.concurrency) <= self.concurrency

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
    decision = Decision()
    for job in _in_order(lines):
        if job.line in decision.blocked or job.line in decision.later:
            continue  # nothing of a line passes its head
        if len(decision.admitted) >= most:
            decision.later[job.line] = now
            continue
        for permit in job.permits:
            room = rooms[permit.name]
            if room.takes(permit.weight):
                continue
            if room.shut is None:
                decision.blocked[job.line] = permit.name
                room.reserved = True
            else:
                decision.later[job.line] = room.shut
            break
        else:
            _plan_start(job, rooms, decision, now=now, ahead=ahead)
    return decision


def _plan_start(
    job: Candidate, rooms: Mapping[str, Room], decision: Decision, *, now: datetime, ahead: timedelta
) -> None:
    """Admit a job whose permits are free, if all its rates let it start soon."""
    if not any(rooms[permit.name].rate for permit in job.permits):
        for permit in job.permits:
            rooms[permit.name].take(permit.weight)
        decision.admitted.append(job)
        return
    planned = {permit.name: rooms[permit.name].start(permit.weight, now) for permit in job.permits}
    start = max(planned.values())
    if start > now + ahead:
        decision.later[job.line] = start - min(_EARLY, ahead)
        decision.crowded |= {name for name in planned if rooms[name].on_way and rooms[name].rate}
        return
    for permit in job.permits:
        rooms[permit.name].take(permit.weight)
    decision.admitted.append(job)
    decision.starts[job.id] = start


def _in_order(lines: Iterable[Sequence[Candidate]]) -> list[Candidate]:
    """All candidates: by importance, then the first of each line, the second of each, and so on."""
    ranked: list[tuple[int, int, int, Candidate]] = []
    for turn, jobs in enumerate(lines):
        places: dict[int, int] = {}
        for job in jobs:
            place = places[job.priority] = places.get(job.priority, -1) + 1
            ranked.append((-job.priority, place, turn, job))
    return [each[3] for each in sorted(ranked)]  # no two have the same first three
