"""Rescue: give back what dead workers held."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.upkeep import rescue
from celeriac.ledger.upkeep.rescue import HeldAttempt
from celeriac.ledger.writes import outcomes
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.worker.counters import Meter

logger = logging.getLogger(__name__)


class Rescuer:
    """Only a worker whose own heartbeats were written without a gap may declare others dead.

    An outage of the database must not look like the death of all.

    Args:
        silence: seconds after which a worker is dead.
        stored_results: reads results from the result store; a success that is there is the outcome.
        on_change: called when something became due.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        silence: float,
        stored_results: Callable[[Sequence[UUID]], dict[UUID, str]],
        on_change: Callable[[], None],
        meter: Meter,
    ) -> None:
        self._database = database
        self._worker = worker
        self._silence = silence
        self._stored_results = stored_results
        self._on_change = on_change
        self._steady_since: float | None = None
        self._last_beat = 0.0
        self._meter = meter

    def beat_written(self) -> None:
        """A heartbeat of this worker was committed now."""
        now = time.monotonic()
        if self._steady_since is None or now - self._last_beat > self._silence / 2:
            self._steady_since = now
        self._last_beat = now

    @property
    def may_judge(self) -> bool:
        """Whether this worker's own heartbeats were written without a gap, up to now, for long enough."""
        if self._steady_since is None or time.monotonic() - self._last_beat > self._silence / 2:
            return False
        return self._last_beat - self._steady_since >= self._silence

    def rescue_dead(self) -> None:
        """Give back what silent workers held."""
        if not self.may_judge:
            return
        with self._database.reading() as connection:
            dead = rescue.dead_workers(connection, silence=self._silence)
        for worker in dead:
            if worker != self._worker:
                self._rescue(worker)

    def _rescue(self, worker: UUID) -> None:
        with self._database.reading() as connection:
            held = rescue.held_by(connection, [worker])
        stored = self._stored_results([attempt.id for attempt in held]) if held else {}
        accepted = 0
        with self._database.transaction() as connection:
            if not rescue.bury_worker(connection, worker, silence=self._silence):
                return
            while held := rescue.held_by(connection, [worker]):
                reports = [_outcome(attempt, stored) for attempt in held]
                done = outcomes.record(connection, reports, worker=worker)
                accepted += len(done)
                if not done:
                    break
        self._meter.rescued.inc(accepted)
        logger.warning(Event.WORKER_DEAD, {"worker": worker, "jobs": accepted})
        self._on_change()


def _outcome(attempt: HeldAttempt, stored: dict[UUID, str]) -> Outcome:
    if attempt.id in stored:
        return Outcome(
            id=attempt.id, attempt=attempt.attempt, state=JobState.COMPLETED, result=stored[attempt.id]
        )
    failure = Failure(AttemptKind.LOST, "WorkerLost", f"worker {attempt.worker_id} fell silent")
    return Outcome(id=attempt.id, attempt=attempt.attempt, state=JobState.ERROR, failure=failure)
