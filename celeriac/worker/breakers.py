"""Breakers of a worker's keeper: count what ends, and, in the one that leads, open and close them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from celeriac.events import Event
from celeriac.ledger.limits import breakers, limit_rows, lines
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.limits.breaker import Probes, Tally
from celeriac.limits.permits import limit_of

logger = logging.getLogger(__name__)

_PRUNES = 60.0  # seconds between two deletions of old counts


class Breakers:
    """Of one worker. ``ended`` is called by the ledger thread, all else by the admitter's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[str, Tally] = {}
        self._given: dict[str, float] = {}  # when probes were given, on the monotonic clock
        self._pruned_at = 0.0
        self.probes: dict[str, Probes] = {}  # of half-open limits; empty in workers that do not lead

    def ended(self, permits: Iterable[str], *, failed: bool) -> None:
        """Note that an attempt has ended that had these permits."""
        with self._lock:
            for name in map(limit_of, permits):
                tally = self._tallies.get(name, Tally())
                self._tallies[name] = Tally(tally.ended + 1, tally.failed + failed)

    def write(self, connection: Connection, limits: Mapping[str, KnownLimit]) -> None:
        """Write what has ended of limits that have a breaker."""
        with self._lock:
            tallies, self._tallies = self._tallies, {}
        known = {name: tally for name, tally in tallies.items() if name in limits and limits[name].breaker}
        breakers.count(connection, known)

    def judge(
        self, connection: Connection, limits: Mapping[str, KnownLimit], *, leads: bool
    ) -> Mapping[str, KnownLimit]:
        """Open and close breakers, and give probes, where this worker leads; return the limits as they are.

        Jobs of a half-open limit are admitted by this worker alone, so that all keys share its probes.
        """
        if not leads:
            self.probes.clear()
            return limits
        changed = breakers.judge(connection, limits)
        for name, (state, why) in changed.items():
            lines.wake_all(connection, name)
            self.probes.pop(name, None)
            logger.warning(Event.BREAKER_CHANGED, {"limit": name, "state": str(state), "reason": why})
        if changed:
            limits = limit_rows.read(connection)
        self._give_probes(connection, limits)
        if limits and time.monotonic() - self._pruned_at >= _PRUNES:
            self._pruned_at = time.monotonic()
            breakers.prune(connection)
        return limits

    def _give_probes(self, connection: Connection, limits: Mapping[str, KnownLimit]) -> None:
        """Give each half-open limit its probes; again after a rest, if nobody has heard of the last ones."""
        half = {name: limit for name, limit in limits.items() if limit.is_half_open and limit.breaker}
        self.probes = {name: left for name, left in self.probes.items() if name in half}
        for name, limit in half.items():
            assert limit.breaker is not None
            age = time.monotonic() - self._given.get(name, 0.0)
            if name not in self.probes or age >= limit.breaker.rest:
                self.probes[name] = Probes(limit.breaker.probes)
                self._given[name] = time.monotonic()
                lines.wake_all(connection, name)
