"""The burst pool under the name by which Celery finds it.

Celery goes by the name of a pool's module. Where "prefork" stands in it, Django's pools of database
connections are closed in each new child, which could not use those of its parent. The last part of it is what
a worker's banner shows.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.concurrency import prefork

from celeriac.events import Event
from celeriac.worker.burst import pool

logger = logging.getLogger(__name__)


class TaskPool(pool.TaskPool):
    """The burst pool; where Celery has no event loop (a gevent that was patched in), it is prefork."""

    def __new__(cls, *args: Any, threads: bool = True, **options: Any) -> Any:
        if not threads:
            return super().__new__(cls)
        logger.warning(Event.NO_EVENT_LOOP)
        return prefork.TaskPool(*args, threads=threads, **options)
