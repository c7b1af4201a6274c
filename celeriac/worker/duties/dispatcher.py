"""Dispatcher: send the messages of due rows, highest priority first. It marks and commits, then publishes.

Rows of what is paused are held instead, so that the next look does not meet them again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from celeriac.broker import sending
from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep import dispatch
from celeriac.ledger.writes.claims import Message
from celeriac.worker.counters import Meter
from celeriac.worker.pauses import Pauses

if TYPE_CHECKING:
    from celeriac.application import Celeriac

BATCH = 500

_LONGEST = 1.0  # seconds of one run
_OTHERS = 0.05  # seconds until the next run while other workers send all that is due


class Dispatcher:
    def __init__(
        self, app: Celeriac, database: Database, *, meter: Meter, pauses: Pauses | None = None
    ) -> None:
        self._app = app
        self._database = database
        self._meter = meter
        self._pauses = pauses  # None: nothing ever is paused

    def run(self) -> float | None:
        """Send what is due, for about a second; return the seconds until more is, None when nothing waits."""
        end = time.monotonic() + _LONGEST
        while True:
            with self._database.reading() as connection:
                levels = dispatch.levels(connection)
            due = [level.priority for level in levels if level.due_in <= 0]
            if not due:
                return min((level.due_in for level in levels), default=None)
            moved = None if self._app.broker_state.resting_for_duties else self._send_or_hold(due)
            if moved is None:
                return 1.0
            self._meter.observe_lag(max(-level.due_in for level in levels))
            if not moved:
                return _OTHERS
            if time.monotonic() >= end:
                return 0.0  # the keeper has other duties, its heartbeat first

    def _send_or_hold(self, priorities: list[int]) -> int | None:
        """Send or hold one batch; return how many, None when the broker did not take them."""
        messages: list[Message] = []
        held = 0
        with self._database.transaction() as connection:
            for priority in priorities:
                if room := BATCH - len(messages) - held:
                    found, put_away = self._take(connection, priority, room)
                    messages += found
                    held += put_away
        if messages and not sending.send(self._app, messages, database=self._database):
            return None
        self._meter.sent.inc(len(messages))
        return len(messages) + held

    def _take(self, connection: Connection, priority: int, limit: int) -> tuple[list[Message], int]:
        if self._pauses and self._pauses.any:
            return dispatch.take_or_hold(connection, priority, limit=limit)
        return dispatch.take_due(connection, priority, limit=limit), 0
