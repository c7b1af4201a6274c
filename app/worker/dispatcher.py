"""Dispatch: send the messages of rows that are due, most important first, by the one rule for sending."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kombu import Producer

from app import sending
from app.ledger import dispatch
from app.ledger.claims import Message
from app.ledger.database import Database
from app.sending import Broker, Envelope

if TYPE_CHECKING:
    from app.application import Celeriac

logger = logging.getLogger(__name__)

BATCH = 500


class Dispatcher:
    def __init__(self, app: Celeriac, database: Database, broker: Broker) -> None:
        self._app = app
        self._database = database
        self._broker = broker

    def run(self) -> float | None:
        """Send what is due; return the seconds until more is, None when nothing waits."""
        while True:
            with self._database.reading() as connection:
                levels = dispatch.levels(connection)
            due = [level.priority for level in levels if level.due_in <= 0]
            if not due:
                return min((level.due_in for level in levels), default=None)
            if self._broker.resting or not self._send(due):
                return 1.0

    def _send(self, priorities: list[int]) -> bool:
        """Send one batch; False when the broker did not take it."""
        messages: list[Message] = []
        with self._database.transaction() as connection:
            for priority in priorities:
                if len(messages) < BATCH:
                    messages += dispatch.take_due(connection, priority, limit=BATCH - len(messages))
        return not messages or self._publish(messages)

    def _publish(self, messages: list[Message]) -> bool:
        try:
            with self._app.producer_or_acquire() as producer, producer.batch(BATCH):
                for message in messages:
                    self._one(producer, message)
            self._broker.worked()
            return True
        except Exception as exc:  # delivery is uncertain: a needless duplicate is never run twice
            self._broker.failed()
            logger.warning(
                "%d messages not sent, they are tried again: %r", len(messages), exc, exc_info=True
            )
            with self._database.statement() as connection:
                dispatch.unmark(connection, [message.id for message in messages])
            return False

    def _one(self, producer: Producer, message: Message) -> None:
        try:
            sending.publish(producer, Envelope.again(message))
        except (TypeError, ValueError, LookupError):  # one damaged row must not hold up the others
            logger.exception("job %s has a row that no message can be made of", message.id)
