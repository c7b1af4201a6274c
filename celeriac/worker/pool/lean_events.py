"""Celery's events of jobs of the lean lane, as its requests send them: for Flower, and others who watch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celeriac.events import Event
from celeriac.worker.gate.lean_job import LeanJob

logger = logging.getLogger(__name__)


class LeanEvents:
    """In the event loop's thread.

    Args:
        consumer: Celery's consumer, with its dispatcher of events.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._tasks = consumer.app.tasks

    def received(self, job: LeanJob) -> None:
        shown, claimed = job.headers, job.claimed
        assert claimed is not None
        self._send(
            job,
            "task-received",
            name=job.shown_task,
            args=shown.get("argsrepr", ""),
            kwargs=shown.get("kwargsrepr", ""),
            root_id=shown.get("root_id"),
            parent_id=shown.get("parent_id"),
            retries=claimed.attempt - claimed.tries_before - 1,
            eta=None,
            expires=None,
        )

    def succeeded(self, job: LeanJob, seconds: float) -> None:
        """Tell that a job has begun and has ended, with the times at which it did."""
        began = time.time() - (time.monotonic() - (job.began or time.monotonic()))
        _, result, runtime = job.returned
        self._send(job, "task-started", timestamp=began)
        took = seconds if runtime is None else runtime
        self._send(job, "task-succeeded", timestamp=began + seconds, result=result, runtime=took)

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Send nothing in the block: Celery's request of a job is made, and its event was sent."""
        dispatcher = self._consumer.event_dispatcher
        before = getattr(dispatcher, "enabled", None)
        if not before:
            yield
            return
        dispatcher.enabled = False
        try:
            yield
        finally:
            dispatcher.enabled = before

    def _send(self, job: LeanJob, kind: str, **fields: Any) -> None:
        if not self._tasks[job.task].send_events:
            return
        try:
            self._consumer.event_dispatcher.send(kind, uuid=job.id, **fields)
        except Exception:  # the broker is away: what became of the job is told to the ledger all the same
            logger.exception(Event.CALLBACK_FAILED)
