"""Reconcile: the worker's book against the ledger's, both ways.

A row that this worker holds without knowing (the answer to a claim was lost) is released. An
attempt that was taken from it while it was silent is stopped here, since it runs elsewhere.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery.worker import state

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep import rescue
from celeriac.worker.gate.claim_book import ClaimBook

logger = logging.getLogger(__name__)


class Reconciler:
    """
    Args:
        release_unknown: releases rows that this worker holds without knowing.
        pool: the pool of now.
        in_event_loop: runs a call in the thread that the pool belongs to.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        book: ClaimBook,
        release_unknown: Callable[[list[UUID]], None],
        pool: Callable[[], Any],
        in_event_loop: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._database = database
        self._worker = worker
        self._book = book
        self._release_in_turn = release_unknown
        self._pool = pool
        self._in_event_loop = in_event_loop
        self._unknown: set[tuple[UUID, int]] = set()

    def compare(self) -> None:
        """Find what the two books disagree on, and act on it."""
        open_here = set(self._book.open())  # before the question: what is won later is not missing
        with self._database.reading() as connection:
            rows = {(row.id, row.attempt) for row in rescue.held_by(connection, [self._worker])}
            missing = open_here - rows if len(rows) < rescue.MOST else set()
            unfinished = rescue.unfinished(connection, [job for job, _ in missing]) if missing else set()
        self._release_unknown({(job, attempt) for job, attempt in rows if job not in self._book})
        if taken := {(job, attempt) for job, attempt in missing if job in unfinished}:
            self._in_event_loop(lambda: self._stop(taken))

    def _release_unknown(self, strange: set[tuple[UUID, int]]) -> None:
        lost = strange & self._unknown  # seen twice, to be sure: a claim may be on its way into the book
        self._unknown = strange
        if lost:
            logger.warning(Event.UNKNOWN_CLAIMS, {"jobs": len(lost)})
            self._release_in_turn([job for job, _ in lost])

    def _stop(self, taken: set[tuple[UUID, int]]) -> None:
        # What has ended in between must not cost the next job its child.
        for job, attempt in taken.intersection(self._book.open()):
            request = state.requests.get(str(job))
            if request is None or request.attempt != attempt or not request.worker_pid:
                continue
            logger.warning(Event.ATTEMPT_TAKEN, {"job": job, "attempt": attempt})
            try:
                self._pool().terminate_job(request.worker_pid, signal.SIGKILL)
            except NotImplementedError:
                logger.warning(Event.CANNOT_STOP, {"job": job, "attempt": attempt})
