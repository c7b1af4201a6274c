"""The ledger's functions as the simulation calls them: the real ones, unless a test replaces one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celeriac.ledger.limits import admission, in_use, limit_rows, lines, starts
from celeriac.ledger.upkeep import dispatch, held, lost_messages, rescue, worker_rows
from celeriac.ledger.upkeep import prune as retention
from celeriac.ledger.writes import cancel as cancels
from celeriac.ledger.writes import claims, new_jobs, outcomes, quarantine
from celeriac.ledger.writes import replay as replays
from celeriac.worker.duties.dead_worker_detector import DeadWorkerDetector

#: Seconds after which a worker is dead.
SILENCE = 12.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every write and read that the simulated world makes. A broken variant is given in place of one."""

    enqueue: Callable[..., Any] = new_jobs.enqueue
    claim: Callable[..., Any] = claims.claim
    release: Callable[..., Any] = claims.release
    release_uncertain: Callable[..., Any] = claims.release_uncertain
    lost_repeatedly: Callable[..., Any] = claims.lost_repeatedly
    expire: Callable[..., Any] = claims.expire
    record: Callable[..., Any] = outcomes.record
    postpone: Callable[..., Any] = quarantine.postpone
    collect: Callable[..., Any] = quarantine.collect
    levels: Callable[..., Any] = dispatch.levels
    take_due: Callable[..., Any] = dispatch.take_due
    take_or_hold: Callable[..., Any] = dispatch.take_or_hold
    hold: Callable[..., Any] = held.hold
    look: Callable[..., Any] = held.look
    give_back: Callable[..., Any] = held.give_back
    unmark: Callable[..., Any] = dispatch.unmark
    clear_dispatch_marks: Callable[..., Any] = lost_messages.clear_dispatch_marks
    sightings: Callable[..., Any] = rescue.sightings
    held_by: Callable[..., Any] = rescue.held_by
    declare_dead: Callable[..., Any] = rescue.declare_dead
    cancel: Callable[..., Any] = cancels.cancel
    replay: Callable[..., Any] = replays.replay
    prune: Callable[..., Any] = retention.prune
    prune_workers: Callable[..., Any] = retention.prune_workers
    sign_on: Callable[..., Any] = worker_rows.sign_on
    beat: Callable[..., Any] = worker_rows.beat
    sign_off: Callable[..., Any] = worker_rows.sign_off
    declare_limits: Callable[..., Any] = limit_rows.declare
    read_limits: Callable[..., Any] = limit_rows.read
    lead: Callable[..., Any] = limit_rows.lead
    change_limit: Callable[..., Any] = limit_rows.change
    pause_limit: Callable[..., Any] = limit_rows.pause
    resume_limit: Callable[..., Any] = limit_rows.resume
    arrived: Callable[..., Any] = lines.arrived
    find_forgotten: Callable[..., Any] = lines.find_forgotten
    blocked_permits: Callable[..., Any] = lines.blocked_permits
    wake: Callable[..., Any] = lines.wake
    wake_all: Callable[..., Any] = lines.wake_all
    in_use: Callable[..., Any] = in_use.count
    admit: Callable[..., Any] = admission.admit
    start: Callable[..., Any] = starts.claim
    detector: Callable[[float], DeadWorkerDetector] = DeadWorkerDetector  # the one rule that is not SQL
