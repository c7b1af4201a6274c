"""Decide which workers are dead: those whose heartbeat this worker has seen unchanged for a full timeout.

The time is measured by this worker's monotonic clock, because the database's clock may be set.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from celeriac.ledger.upkeep.rescue import Sighting


class DeadWorkerDetector:
    """Only a worker whose own heartbeats were written without a gap may declare others dead.

    Otherwise an outage of the database would look like the death of all workers. Each time is an argument, in
    seconds of the monotonic clock.

    Args:
        silence: seconds after which a worker is dead.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._steady_since: float | None = None
        self._last_beat = 0.0
        self._watched: dict[UUID, tuple[Sighting, float]] = {}

    def beat_written(self, now: float) -> None:
        """A heartbeat of this worker was committed ``now``."""
        if self._steady_since is None or now - self._last_beat > self._silence / 2:
            self._steady_since = now
        self._last_beat = now

    def dead(self, sightings: Iterable[Sighting], now: float) -> list[Sighting]:
        """Which of the workers seen ``now`` are dead. Each call must have all workers that may be dead."""
        watched: dict[UUID, tuple[Sighting, float]] = {}
        for seen in sightings:
            before = self._watched.get(seen.worker)
            watched[seen.worker] = before if before and before[0] == seen else (seen, now)
        self._watched = watched
        if not self.may_declare(now):
            return []
        steady = self._steady_since or 0.0
        return [seen for seen, since in watched.values() if now - max(since, steady) >= self._silence]

    def may_declare(self, now: float) -> bool:
        """Whether this worker's own heartbeats were written without a gap, up to ``now``, for long enough."""
        if self._steady_since is None or now - self._last_beat > self._silence / 2:
            return False
        return self._last_beat - self._steady_since >= self._silence
