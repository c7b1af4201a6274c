"""Decide which jobs are admitted: a function of what waits, what is in use and what the clock says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from celeriac.limits.permits import Permit
from celeriac.limits.rate import Rate


@dataclass(slots=True)
class Room:
    """What is left of one permit.

    Attributes:
        concurrency: None: any number may run.
        used: the weight of what is in use.
        rate: None: any number may start.
        next_start: of the rate.
        shut: why nothing at all is admitted: a moment until then, or None for as long as it is said.
        is_shut: whether it is.
    """

    concurrency: int | None = None
    used: int = 0
    rate: Rate | None = None
    next_start: datetime | None = None
    shut: datetime | None = None
    is_shut: bool = False
    reserved: bool = False  # a heavy job waits for what is free: lighter ones must not pass it for ever

    def takes(self, weight: int, now: datetime) -> bool:
        return not self.is_shut and self._has_slots(weight) and self._may_start(weight, now)

    def take(self, weight: int, now: datetime) -> None:
        self.used += weight
        if self.rate is not None:
            self.next_start = self.rate.after(self.next_start, now, self._starts(weight))

    def opens(self, weight: int, now: datetime) -> datetime | None:
        """When it is worth a look; None: when something is given back, or said otherwise."""
        if self.is_shut:
            return self.shut
        if not self._has_slots(weight) or self.rate is None:
            return None
        return self.rate.opens(self.next_start, now, self._starts(weight))

    def _has_slots(self, weight: int) -> bool:
        if self.concurrency is None:
            return True
        if self.reserved:
            return False
        # One that is heavier than all of it, since an operator made it smaller, runs alone.
        return self.used + min(weight, self.concurrency) <= self.concurrency

    def _may_start(self, weight: int, now: datetime) -> bool:
        return self.rate is None or self.rate.allowed(self.next_start, now) >= self._starts(weight)

    def _starts(self, weight: int) -> int:
        assert self.rate is not None
        return min(weight, self.rate.burst)


@dataclass(frozen=True, slots=True)
class Candidate:
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
    """

    admitted: list[Candidate] = field(default_factory=list)
    blocked: dict[UUID, str] = field(default_factory=dict)
    later: dict[UUID, datetime] = field(default_factory=dict)
    idle: set[UUID] = field(default_factory=set)


def decide(
    lines: Sequence[Sequence[Candidate]], rooms: Mapping[str, Room], *, now: datetime, most: int
) -> Decision:
    """Admit what there is room for: the more important first, then line by line in turn.

    Args:
        lines: the candidates of each line, as they go; the lines in their turn.
        rooms: of every permit that a candidate takes. They are counted down.
        most: jobs that are admitted at once.
    """
    decision = Decision()
    for job in _in_order(lines):
        if job.line in decision.blocked or job.line in decision.later:
            continue  # nothing of a line passes its head
        if len(decision.admitted) >= most:
            decision.later[job.line] = now
            continue
        refusing = next((p for p in job.permits if not rooms[p.name].takes(p.weight, now)), None)
        if refusing is None:
            for permit in job.permits:
                rooms[permit.name].take(permit.weight, now)
            decision.admitted.append(job)
            continue
        room = rooms[refusing.name]
        moment = room.opens(refusing.weight, now)
        if moment is None:
            decision.blocked[job.line] = refusing.name
            room.reserved = True
        else:
            decision.later[job.line] = moment
    return decision


def _in_order(lines: Iterable[Sequence[Candidate]]) -> list[Candidate]:
    """All candidates: by importance, then the first of each line, the second of each, and so on."""
    ranked: list[tuple[int, int, int, Candidate]] = []
    for turn, jobs in enumerate(lines):
        places: dict[int, int] = {}
        for job in jobs:
            place = places[job.priority] = places.get(job.priority, -1) + 1
            ranked.append((-job.priority, place, turn, job))
    return [job for *_, job in sorted(ranked, key=lambda each: each[:3])]
