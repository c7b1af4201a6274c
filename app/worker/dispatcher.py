"""Dispatch: send the messages of rows that are due, most important first, by the one rule for sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import sending
from app.ledger import dispatch
from app.ledger.claims import Message
from app.ledger.database import Database
from app.worker.meter import Meter

if TYPE_CHECKING:
    from app.application import Celeriac

BATCH = 500


class Dispatcher:
    def __init__(self, app: Celeriac, database: Database, *, meter: Meter) -> None:
        self._app = app
        self._database = database
        self._meter = meter

    def run(self) -> float | None:
        """Send what is due; return the seconds until more is, None when nothing waits."""
        while True:
            with self._database.reading() as connection:
                levels = dispatch.levels(connection)
            due = [level.priority for level in levels if level.due_in <= 0]
            if not due:
                return min((level.due_in for level in levels), default=None)
            if self._app.broker_state.resting or not self._send(due):
                return 1.0
            self._meter.late(max(-level.due_in for level in levels))

    def _send(self, priorities: list[int]) -> bool:
        """Send one batch; False when the broker did not take it."""
        messages: list[Message] = []
        with self._database.transaction() as connection:
            for priority in priorities:
                if len(messages) < BATCH:
                    messages += dispatch.take_due(connection, priority, limit=BATCH - len(messages))
        if messages and not sending.send(self._app, messages, database=self._database):
            return False
        self._meter.sent.inc(len(messages))
        return True
