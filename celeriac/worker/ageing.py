"""Move jobs that have waited for long to the next level; a duty of workers, where a lane asks for it."""

from __future__ import annotations

from collections.abc import Callable

from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.lanes import list_of, place_of
from celeriac.ledger.upkeep.age import age
from celeriac.limits.ageing import NEXT, Ageing
from celeriac.priorities import priority_of
from celeriac.worker.counters import Meter

EVERY = 5.0  # seconds between two looks

_BATCH = 500  # jobs of one transaction


class AgeingDuty:
    """
    Args:
        queues: the lists that this worker draws from; a job moves only into one of these.
        on_change: called when there is something to send.
    """

    def __init__(
        self,
        database: Database,
        ageing: Ageing,
        *,
        queues: Callable[[], list[str]],
        on_change: Callable[[], None],
        meter: Meter,
    ) -> None:
        self._database = database
        self._ageing = ageing
        self._queues = queues
        self._on_change = on_change
        self._meter = meter

    def run(self) -> float | None:
        """Move a batch of each list; return 0 when more are left."""
        drawn = self._queues()
        found = [self._move(queue, drawn) for queue in drawn]
        if any(found):
            self._on_change()
        return 0.0 if any(count == _BATCH for count in found) else None

    def _move(self, queue: str, drawn: list[str]) -> int:
        lane, level = place_of(queue)
        older = self._ageing.after(lane, level)
        if older is None or level is None:
            return 0
        to = list_of(lane, NEXT[level])
        if to not in drawn:
            return 0
        with self._database.transaction() as connection:
            count = age(connection, queue, older=older, to=to, priority=priority_of(to), limit=_BATCH)
        self._meter.aged.inc(count)
        return count
