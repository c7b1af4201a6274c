"""Canceller: pass the ledger's cancel requests on to jobs that run in this worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery.worker import state

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep import rescue
from celeriac.ledger.writes.cancel import Mode
from celeriac.worker.pool.request_of_job import request_of

logger = logging.getLogger(__name__)


class Canceller:
    """The task itself reads a soft request; a hard one terminates its child.

    Args:
        in_event_loop: runs a call in the thread that the pool belongs to.
        request_of: Celery's request of a job, in that thread.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        pool: Callable[[], Any],
        in_event_loop: Callable[[Callable[[], Any]], Any],
        request_of: Callable[[UUID], Any] = request_of,
    ) -> None:
        self._database = database
        self._worker = worker
        self._pool = pool
        self._in_event_loop = in_event_loop
        self._request_of = request_of
        self._terminated: set[UUID] = set()

    def pass_on(self) -> None:
        """Look for cancel requests of this worker's running jobs, and act on the new ones."""
        with self._database.reading() as connection:
            rows = rescue.held_by(connection, [self._worker])
        wanted = {row.id: row.cancel_requested for row in rows if row.cancel_requested}
        for job, mode in wanted.items():
            if job not in self._terminated:
                self._in_event_loop(lambda job=job, mode=mode: self._act(job, mode))  # type: ignore[misc]  # mypy cannot infer a lambda's defaults
        self._terminated.intersection_update(wanted)

    def _act(self, job: UUID, mode: str) -> None:
        request = self._request_of(job)
        if request is None or request.time_start is None:
            # Not begun, or ended, or waiting for a rate limit: Celery drops it before it would begin.
            state.revoked.add(str(job) if request is None else request.id)
        elif mode == Mode.HARD:
            try:
                self._terminated.add(job)  # only once; a soft request may become a hard one later
                request.terminate(self._pool(), signal="SIGTERM")
            except NotImplementedError:
                logger.warning(Event.CANNOT_TERMINATE, {"job": job})
