"""The hand-over of a job to Celery's pool: the place that it takes there is given back, whatever happens.

Celery's own (``WorkController._process_task``) gives a place back when a job was revoked, and for no other
exception: each one costs prefork a child's share of its work for ever, or, while the job waits for a place,
ends the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery.exceptions import TaskRevokedError
from celery.worker import state

from celeriac.worker.pool import prefork

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer
    from celery.worker.request import Request


class PoolSlots:
    """Where a pool has places, which is in prefork, a job waits for one; elsewhere the pool itself queues.

    Args:
        refused: takes a request that could not be handed over, and why.
    """

    def __init__(self, consumer: Consumer, refused: Callable[[Request, Exception], None]) -> None:
        self._consumer = consumer
        self._refused = refused

    def take(self, request: Request) -> None:
        """Have the pool run ``request`` as soon as it has a place."""
        semaphore = self._semaphore
        if semaphore is None:
            self._execute(request)
        else:
            semaphore.acquire(self._execute, request)

    def _execute(self, request: Request) -> None:
        try:
            request.execute_using_pool(self._consumer.pool)
        except TaskRevokedError:
            self._give_back()
        except Exception as exc:  # what a message carries must cost nobody else anything
            self._give_back()
            forget(self._consumer.pool, request)
            self._refused(request, exc)

    def _give_back(self) -> None:
        # Not at once: the next job that waits would be begun inside of this one's hand-over.
        if (semaphore := self._semaphore) is not None:
            self._consumer.call_soon(semaphore.release)

    @property
    def _semaphore(self) -> Any:
        controller, pool = self._consumer.controller, self._consumer.pool
        return controller.semaphore if controller.pool_putlocks and pool.uses_semaphore else None


def forget(pool: Any, request: Request) -> None:
    """Leave no trace of a request that is not handed over in what Celery and the pool keep."""
    prefork.discard(getattr(pool, "_pool", None), request.id)
    state.task_ready(request)
