"""Rescuer: declare silent workers dead, and record outcomes for the attempts that they held."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from uuid import UUID

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.upkeep import rescue
from celeriac.ledger.upkeep.rescue import HeldAttempt, Sighting
from celeriac.ledger.writes import outcomes
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.worker.counters import Meter
from celeriac.worker.duties.dead_worker_detector import DeadWorkerDetector

logger = logging.getLogger(__name__)


class Rescuer:
    """
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
        stored_results: Callable[[Mapping[UUID, str]], dict[UUID, str]],
        on_change: Callable[[], None],
        meter: Meter,
    ) -> None:
        self._database = database
        self._worker = worker
        self._detector = DeadWorkerDetector(silence)
        self._stored_results = stored_results
        self._on_change = on_change
        self._meter = meter

    def beat_written(self) -> None:
        """A heartbeat of this worker was committed now."""
        self._detector.beat_written(time.monotonic())

    def rescue_dead(self) -> None:
        """Rescue what dead workers held."""
        with self._database.reading() as connection:
            seen = rescue.sightings(connection)
        for dead in self._detector.dead(seen, time.monotonic()):
            if dead.worker != self._worker:
                self._rescue(dead)

    def _rescue(self, dead: Sighting) -> None:
        with self._database.reading() as connection:
            held = rescue.held_by(connection, [dead.worker])
            task_ids = rescue.task_ids(connection, [attempt.id for attempt in held]) if held else {}
        stored = self._stored_results(task_ids) if task_ids else {}
        accepted = 0
        with self._database.transaction() as connection:
            if not rescue.declare_dead(connection, dead):
                return
            while held := rescue.held_by(connection, [dead.worker]):
                reports = [_outcome(attempt, stored) for attempt in held]
                done = outcomes.record(connection, reports, worker=dead.worker)
                accepted += len(done)
                if not done:
                    break
        self._meter.rescued.inc(accepted)
        logger.warning(Event.WORKER_DEAD, {"worker": dead.worker, "jobs": accepted})
        self._on_change()


def _outcome(attempt: HeldAttempt, stored: dict[UUID, str]) -> Outcome:
    if attempt.id in stored:
        return Outcome(
            id=attempt.id, attempt=attempt.attempt, state=JobState.COMPLETED, result=stored[attempt.id]
        )
    failure = Failure(AttemptKind.LOST, "WorkerLost", f"worker {attempt.worker_id} fell silent")
    return Outcome(id=attempt.id, attempt=attempt.attempt, state=JobState.ERROR, failure=failure)
