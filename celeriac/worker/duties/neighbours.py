"""Neighbours: record that this worker draws here, say when another installation uses the same lists.

Two installations with one prefix (or none) on one Redis database take messages of each other, and drop them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.display import safe
from celeriac.events import Event
from celeriac.headers import STAMP
from celeriac.ids import row_id
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import neighbours
from celeriac.observe import redis_workers

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

EVERY = 10.0  # seconds

_KEPT = 100  # dropped messages that are remembered between two looks
_SHOWN = 3


class Neighbours:
    def __init__(self, app: Celeriac, database: Database, *, worker: UUID, hostname: str) -> None:
        self._app = app
        self._database = database
        self._worker = worker
        self._hostname = hostname
        self._named: set[UUID] = set()
        self._dropped: deque[tuple[UUID, object, object]] = deque(maxlen=_KEPT)  # job, task, origin

    def dropped(self, messages: Sequence[Any]) -> None:
        """Note deliveries that did not run: there may be no row for them."""
        for message in messages:
            headers = message.headers if isinstance(message.headers, dict) else {}
            if STAMP in headers and (job := row_id(headers.get("id"))) is not None:
                self._dropped.append((job, headers.get("task"), headers.get("origin")))

    def look(self) -> None:
        """Record this worker in Redis, and log what there is of another installation."""
        self._name_workers(self._present())
        self._name_messages()

    def _present(self) -> dict[UUID, str]:
        """The workers that draw here; none while the broker is away, or where an ACL forbids the question."""
        prefix = self._app.settings.prefix
        if self._app.broker_state.resting_for_duties:
            return {}
        try:
            with self._app.connection_or_acquire() as connection:
                client = connection.default_channel.whole_keys
                redis_workers.record(client, self._worker, self._hostname, prefix=prefix)
                return redis_workers.recent(client, within=redis_workers.FRESH, prefix=prefix)
        except self._app.broker_errors:
            return {}

    def _name_workers(self, present: dict[UUID, str]) -> None:
        new = present.keys() - self._named - {self._worker}
        if not new:
            return
        with self._database.reading() as connection:
            others = new - neighbours.known_workers(connection, list(new))
        self._named |= new
        if others:
            hosts = sorted(safe(present[each], length=80) for each in others)[:_SHOWN]
            logger.warning(Event.FOREIGN_WORKERS, {"workers": ", ".join(hosts)})

    def _name_messages(self) -> None:
        found = [self._dropped.popleft() for _ in range(len(self._dropped))]
        jobs = {job: (task, origin) for job, task, origin in found}
        if not jobs:
            return
        with self._database.reading() as connection:
            strays = jobs.keys() - neighbours.known_jobs(connection, list(jobs))
        if strays:
            task, origin = (safe(str(each), length=80) for each in jobs[min(strays)])
            logger.warning(Event.FOREIGN_MESSAGES, {"jobs": len(strays), "task": task, "origin": origin})
