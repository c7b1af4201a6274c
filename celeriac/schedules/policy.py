"""Which due times are fired now and which are skipped, decided from the schedule and the clock alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from celeriac.schedules.definition import CatchUp, Overlap, Schedule

#: Due times of one schedule that are fired at once. The rest of a long catch-up follows in the next turns.
MOST_AT_ONCE = 20

_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one schedule.

    Attributes:
        fires: due times to make a job of, the oldest first.
        next_run: the due time after them; None when none is to come.
        skipped: the newest due time that was skipped; None when none was.
        reason: why it was skipped.
        first_skipped: the oldest due time that was skipped with it, for the same reason.
    """

    fires: Sequence[datetime]
    next_run: datetime | None
    skipped: datetime | None = None
    reason: str | None = None
    first_skipped: datetime | None = None


def decide(schedule: Schedule, now: datetime, *, grace: timedelta, busy: bool = False) -> Decision:
    """Decide what to do about ``schedule``.

    Args:
        grace: a due time counts as missed when it is found later than this. It covers a takeover by another
            beat, to which the catch-up policy does not apply.
        busy: whether its last job is unfinished.
    """
    first = schedule.next_run
    if first is None or first > now or not schedule.enabled:
        return Decision((), first)
    if now - first <= grace:
        decision = _fire_some(schedule, schedule.timing.latest(first, now, limit=_ALL), now)
    else:
        decision = _catch_up(schedule, first, now, grace)
    return _one_at_a_time(decision, busy) if schedule.overlap is Overlap.SKIP else decision


def _catch_up(schedule: Schedule, first: datetime, now: datetime, grace: timedelta) -> Decision:
    timing, policy = schedule.timing, schedule.catch_up
    limit = schedule.catch_up_limit if policy is CatchUp.ALL else 1
    found = timing.latest(first, now, limit=limit)
    if policy is CatchUp.SKIP:
        found = [due for due in found if now - due <= grace]
    some = _fire_some(schedule, found, now)
    if found and found[0] == first:
        return some
    passed_over = timing.latest(first, found[0] - _TICK if found else now, limit=1)
    late = str(now - first).partition(".")[0]
    reason = f"missed while nothing fired schedules for {late}; catch-up policy {policy}"
    if policy is CatchUp.ALL:
        reason += f" with a limit of {limit}"
    return Decision(some.fires, some.next_run, passed_over[-1] if passed_over else first, reason, first)


def _fire_some(schedule: Schedule, found: Sequence[datetime], now: datetime) -> Decision:
    """Fire the first due times of ``found``; the others stay due and follow in the next turn."""
    more = len(found) > MOST_AT_ONCE
    return Decision(found[:MOST_AT_ONCE], found[MOST_AT_ONCE] if more else schedule.timing.after(now))


def _one_at_a_time(decision: Decision, busy: bool) -> Decision:
    fires = () if busy else decision.fires[:1]
    left = decision.fires[len(fires) :]
    if not left:
        return decision
    reason = "the job before it had not ended; overlap policy skip"
    first = None if fires else decision.first_skipped  # what a catch-up left out before is left out as well
    return Decision(fires, decision.next_run, left[-1], reason, first or left[0])


_TICK = timedelta(microseconds=1)
