"""Rescue: give back what dead workers held, and what this worker holds without knowing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from app.ledger import claims, outcomes, rescue
from app.ledger.database import Database
from app.ledger.lifecycle import AttemptKind, JobState
from app.ledger.outcomes import Failure, Outcome
from app.ledger.rescue import HeldAttempt
from app.worker.held import Held

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
        held: Held,
        silence: float,
        stored_results: Callable[[Sequence[UUID]], dict[UUID, str]],
        on_change: Callable[[], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._held = held
        self._silence = silence
        self._stored_results = stored_results
        self._on_change = on_change
        self._steady_since: float | None = None
        self._last_beat = 0.0
        self._unknown: set[tuple[UUID, int]] = set()
        self.rescued = 0

    def beat_written(self) -> None:
        """A heartbeat of this worker was committed now."""
        now = time.monotonic()
        if self._steady_since is None or now - self._last_beat > self._silence / 2:
            self._steady_since = now
        self._last_beat = now

    @property
    def may_judge(self) -> bool:
        if self._steady_since is None:
            return False
        return self._last_beat - self._steady_since >= self._silence

    def rescue_dead(self) -> None:
        """Give back what silent workers held."""
        if not self.may_judge:
            return
        with self._database.reading() as connection:
            dead = rescue.dead_workers(connection, silence=self._silence)
        for worker in dead:
            self._rescue(worker)

    def _rescue(self, worker: UUID) -> None:
        while True:
            with self._database.reading() as connection:
                held = rescue.held_by(connection, [worker])
            if not held:
                break
            stored = self._stored_results([attempt.id for attempt in held])
            with self._database.transaction() as connection:
                accepted = outcomes.record(connection, [_outcome(a, stored) for a in held], worker=worker)
            self.rescued += len(accepted)
            logger.warning("rescued %d jobs of worker %s", len(accepted), worker)
            self._on_change()
            if len(held) < rescue.MOST:
                break
        with self._database.transaction() as connection:
            rescue.bury_worker(connection, worker, silence=self._silence)

    def release_unknown(self) -> None:
        """Release running rows of this worker that its book does not have; seen twice, to be sure."""
        with self._database.reading() as connection:
            rows = rescue.held_by(connection, [self._worker])
        strange = {(row.id, row.attempt) for row in rows if row.id not in self._held}
        lost = sorted(strange & self._unknown)
        self._unknown = strange
        if lost:
            with self._database.transaction() as connection:
                released = claims.release(connection, lost, worker=self._worker)
            logger.warning("released %d claims that this worker did not know of", len(released))
            self._on_change()


def _outcome(attempt: HeldAttempt, stored: dict[UUID, str]) -> Outcome:
    if attempt.id in stored:
        return Outcome(
            id=attempt.id, attempt=attempt.attempt, state=JobState.COMPLETED, result=stored[attempt.id]
        )
    failure = Failure(AttemptKind.LOST, "WorkerLost", f"worker {attempt.worker_id} fell silent")
    return Outcome(id=attempt.id, attempt=attempt.attempt, state=JobState.ERROR, failure=failure)
