"""Reconcile the claim book with the ledger.

A row that the ledger gives to this worker and that is not in its book is released: the answer to a claim was
lost. An attempt in the book that the ledger has taken away is stopped, because the job runs elsewhere.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep import rescue
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.pool.request_of_job import request_of

logger = logging.getLogger(__name__)


class Reconciler:
    """
    Args:
        release_unknown: releases rows that this worker holds without knowing.
        pool: returns the current pool.
        in_event_loop: runs a call in the thread that the pool belongs to.
        request_of: Celery's request of a job, in that thread.
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
        request_of: Callable[[UUID], Any] = request_of,
    ) -> None:
        self._database = database
        self._worker = worker
        self._book = book
        self._release_in_turn = release_unknown
        self._pool = pool
        self._in_event_loop = in_event_loop
        self._request_of = request_of
        self._unknown: set[tuple[UUID, int]] = set()

    def compare(self) -> None:
        """Compare the book with the ledger, and act on the differences."""
        open_here = set(self._book.open())  # read before the ledger: a later claim must not count as taken
        with self._database.reading() as connection:
            rows = {(row.id, row.attempt) for row in rescue.held_by(connection, [self._worker])}
            missing = open_here - rows if len(rows) < rescue.MOST else set()
            unfinished = rescue.unfinished(connection, [job for job, _ in missing]) if missing else set()
        self._release_unknown({(job, attempt) for job, attempt in rows if job not in self._book})
        if taken := {(job, attempt) for job, attempt in missing if job in unfinished}:
            self._in_event_loop(lambda: self._stop(taken))

    def _release_unknown(self, strange: set[tuple[UUID, int]]) -> None:
        lost = strange & self._unknown  # seen twice: a claim may not be in the book yet
        self._unknown = strange
        if lost:
            logger.warning(Event.UNKNOWN_CLAIMS, {"jobs": len(lost)})
            self._release_in_turn([job for job, _ in lost])

    def _stop(self, taken: set[tuple[UUID, int]]) -> None:
        # Read again: if the attempt has ended, its child runs another job by now.
        for job, attempt in taken.intersection(self._book.open()):
            request = self._request_of(job)
            if request is None or request.attempt != attempt or not request.worker_pid:
                continue
            logger.warning(Event.ATTEMPT_TAKEN, {"job": job, "attempt": attempt})
            try:
                self._pool().terminate_job(request.worker_pid, signal.SIGKILL)
            except NotImplementedError:
                logger.warning(Event.CANNOT_STOP, {"job": job, "attempt": attempt})
