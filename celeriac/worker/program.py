"""The worker as Celery starts it, with a word on what can still be configured while it does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.apps.worker import Worker as CeleryWorker
from celery.signals import worker_before_create_process

from celeriac.events import Event
from celeriac.settings.conf import Stage
from celeriac.worker.pool import prefork

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)


class Worker(CeleryWorker):
    """Celery's worker. What its receivers write to ``conf`` too late is refused, not dropped."""

    app: Celeriac

    def on_before_init(self, quiet: bool = False, **options: Any) -> None:
        self.app.stage = Stage.STARTS
        self.app.async_concurrency = options.get("async_concurrency")
        worker_before_create_process.connect(prefork.share_memory)
        super().on_before_init(quiet, **options)

    def on_after_init(
        self, purge: bool = False, no_color: bool | None = None, *rest: Any, **options: Any
    ) -> None:
        super().on_after_init(purge, no_color, *rest, **options)
        self.app.stage = Stage.CHOSEN

    def wait_for_soft_shutdown(self) -> None:
        """At a cold shutdown: wait if a job runs. What Celery knows to run afterwards is cancelled."""
        if hold := getattr(self.pool, "hold", None):  # burst
            hold()
        super().wait_for_soft_shutdown()

    def on_consumer_ready(self, consumer: Any) -> None:
        if self.app.async_concurrency is not None and not hasattr(self.pool, "places_beside"):
            logger.warning(Event.NO_ASYNC_CONCURRENCY)
        super().on_consumer_ready(consumer)
