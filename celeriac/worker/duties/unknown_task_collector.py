"""Collect jobs that other workers put back because they do not know the task, if this worker knows it.

While a new version is rolled out, older workers also draw messages of its new tasks, and put the jobs back.
They are taken from the ledger here: from the broker, the older workers would draw them again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from typing import Any

from celeriac.broker import wire
from celeriac.broker.message import Message
from celeriac.ledger.connection.database import Database
from celeriac.ledger.writes import quarantine

_SOON = 0.05  # seconds until the next query after some were found
_MOST = 500  # jobs of one query


class UnknownTaskCollector:
    """
    Args:
        tasks: the names of the tasks that this worker knows.
        queues: the queues that it draws from.
        capacity: how many deliveries it may take now.
        receive: takes a delivery, as one that came from the broker.
    """

    def __init__(
        self,
        database: Database,
        *,
        tasks: Callable[[], Iterable[str]],
        queues: Callable[[], Iterable[str]],
        capacity: Callable[[], int],
        receive: Callable[[Any], None],
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._queues = queues
        self._capacity = capacity
        self._receive = receive

    def run(self) -> float | None:
        """Take as many as there is capacity for; return seconds until the next run, None: the usual time."""
        limit = min(self._capacity(), _MOST)
        if limit <= 0:
            return None
        with self._database.transaction() as connection:
            found = quarantine.collect(
                connection, tasks=list(self._tasks()), queues=list(self._queues()), limit=limit
            )
        for job in found:
            self._receive(Message(json.loads(wire.write(job)), channel=_Nowhere()))
        return _SOON if found else None


class _Nowhere:
    """The channel of a delivery that came from no broker, so that there is nothing to acknowledge."""

    body_encoding = None
    no_ack_consumers = None

    def basic_ack(self, *_: Any, **__: Any) -> None: ...

    def basic_reject(self, *_: Any, **__: Any) -> None: ...

    def message_to_python(self, message: Any) -> Any:
        return message

    @staticmethod
    def decode_body(body: str, encoding: str | None = None) -> bytes:
        return base64.b64decode(body)
