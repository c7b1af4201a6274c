"""Find lost messages: rows of this worker's queues whose message is gone from the broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep import lost_messages
from celeriac.worker.counters import Meter
from celeriac.worker.watermarks import Watermarks

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Seconds that a message may take to be claimed after a later one was claimed, or after its queue is empty.
GRACE = 10.0


class LostMessageFinder:
    def __init__(
        self,
        app: Celeriac,
        database: Database,
        watermarks: Watermarks,
        *,
        queues: Callable[[], Iterable[str]],
        on_change: Callable[[], None],
        meter: Meter,
    ) -> None:
        self._app = app
        self._database = database
        self._watermarks = watermarks
        self._queues = queues
        self._on_change = on_change
        self._meter = meter

    def sweep(self) -> None:
        """Clear the dispatch marks of rows of this worker's queues whose message is lost."""
        queues = list(self._queues())
        empty = self._empty(queues)
        reached = {queue: None if queue in empty else self._watermarks.reached(queue) for queue in queues}
        wanted = {queue: before for queue, before in reached.items() if queue in empty or before is not None}
        if not wanted:
            return
        with self._database.transaction() as connection:
            found = lost_messages.clear_dispatch_marks(connection, wanted, grace=GRACE)
        if found:
            self._meter.stranded.inc(found)
            logger.warning(Event.STRANDED, {"jobs": found})
            self._on_change()

    def _empty(self, queues: list[str]) -> set[str]:
        """The queues in which the broker has nothing; none when it cannot be asked."""
        if self._app.broker_state.resting_for_duties:
            return set()
        try:
            with self._app.connection_or_acquire() as connection:
                lengths = connection.default_channel.lengths(queues)
        except self._app.broker_errors:
            return set()
        return {queue for queue, length in lengths.items() if not length}
