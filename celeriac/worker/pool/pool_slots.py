"""Hand a job to Celery's pool, and give its slot back whatever happens.

Celery's own code (``WorkController._process_task``) gives the slot back when a job was revoked, but not after
any other exception. Each of these would cost prefork a slot for ever, or end the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.exceptions import TaskRevokedError
from celery.worker import state

from celeriac.worker.pool import prefork

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer
    from celery.worker.request import Request


class PoolSlots:
    """In a pool with slots (prefork) a job waits for a free one; other pools queue by themselves.

    The burst pool takes jobs when it makes a bundle. Only then is a job handed over, with the limits and
    revokes of that moment.

    Args:
        refused: takes a request that could not be handed over, and why.
    """

    def __init__(self, consumer: Consumer, refused: Callable[[Request, Exception], None]) -> None:
        self._consumer = consumer
        self._refused = refused
        self._catching: list[Request] | None = None

    @contextmanager
    def catching(self) -> Iterator[list[Request]]:
        """Keep the requests that come in the block from the pool, and put them into the list."""
        caught: list[Request] = []
        self._catching = caught
        try:
            yield caught
        finally:
            self._catching = None

    def take(self, request: Request) -> None:
        """Have the pool run ``request`` as soon as it has a free slot."""
        if self._catching is not None:
            self._catching.append(request)
            return
        semaphore = self._semaphore
        if line_up := getattr(self._consumer.pool, "line_up", None):  # burst
            line_up(request, self.execute)
        elif semaphore is None:
            self.execute(request)
        else:
            semaphore.acquire(self.execute, request)

    def execute(self, request: Request) -> None:
        """Hand ``request`` to the pool now."""
        try:
            request.execute_using_pool(self._consumer.pool)
        except TaskRevokedError:
            self._give_back()
        except Exception as exc:  # a bad message must not cost other jobs a slot
            self._give_back()
            forget(self._consumer.pool, request)
            self._refused(request, exc)

    def _give_back(self) -> None:
        # Later, in the event loop: released here, the next waiting job would begin inside this call.
        if (semaphore := self._semaphore) is not None:
            self._consumer.call_soon(semaphore.release)

    @property
    def _semaphore(self) -> Any:
        controller, pool = self._consumer.controller, self._consumer.pool
        return controller.semaphore if controller.pool_putlocks and pool.uses_semaphore else None


def forget(pool: Any, request: Request) -> None:
    """Remove a request that was not handed over from what Celery and the pool remember."""
    prefork.discard(getattr(pool, "_pool", None), request.id)
    state.task_ready(request)
