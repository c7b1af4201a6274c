"""Wait for results: Celery's consumer of what Redis publishes, which asks the ledger as well."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import states
from celery.backends.redis import ResultConsumer as RedisResultConsumer
from redis.exceptions import RedisError

from celeriac.events import Event
from celeriac.task.results.ledger_answers import answers, final

logger = logging.getLogger(__name__)

_LOOK = 2.0  # seconds between two queries to the ledger by a waiting .get()

#: What says that the result store is away.
AWAY = (RedisError, OSError, RuntimeError)  # Celery raises RuntimeError in place of many others


class ResultConsumer(RedisResultConsumer):
    """Waits for Redis to publish a result, and asks the ledger as well: a flushed Redis never publishes."""

    _looked = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wanted: set[str] = set()
        #: By id: the results that somebody waits for.
        self._waited: defaultdict[str, list[Any]] = defaultdict(list)
        self._subscribing = threading.Lock()

    def on_after_fork(self) -> None:
        self._subscribing = threading.Lock()  # the thread that may hold the old lock is not in the child
        super().on_after_fork()

    def stop(self) -> None:
        super().stop()
        self._pubsub = None
        self.subscribed_to.clear()

    def drain_events(self, timeout: float | None = None) -> None:
        try:
            super().drain_events(timeout=min(timeout or 1.0, 1.0))
        except AWAY:
            time.sleep(min(timeout or 0.1, 0.1))
        if time.monotonic() - self._looked >= _LOOK:
            self._looked = time.monotonic()
            self._ask_ledger()

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        try:
            self._subscribe()
            super().on_wait_for_pending(result, **kwargs)
        except AWAY:
            logger.warning(Event.RESULTS_AWAY)

    def _subscribe(self) -> None:
        """Subscribe to all noted ids. A thread waits for another that does so: its id may be among them."""
        with self._subscribing:
            while True:
                try:
                    task_id = self._wanted.pop()
                except KeyError:
                    return
                try:
                    super().consume_from(task_id)
                except BaseException:  # also an interrupt: the id must be subscribed to later
                    self._wanted.add(task_id)
                    raise

    def consume_from(self, task_id: str) -> None:
        """Note the id; the subscription is made by ``.get()``, so that enqueuing a group needs no Redis."""
        self._wanted.add(task_id)

    def cancel_for(self, task_id: str) -> None:
        """Called when an AsyncResult is collected, where nobody can handle an error."""
        self._wanted.discard(task_id)
        try:
            super().cancel_for(task_id)
        except Exception:  # the store is away, or the interpreter is ending
            self._pubsub = None

    @contextmanager
    def waiting(self, result: Any) -> Iterator[None]:
        """Tell ``result`` and its members themselves what becomes of them.

        Celery before 5.7 tells one result of an id; another one of it would wait for ever.
        """
        members = _members(result)
        for member in members:
            self._waited[member.id].append(member)
        try:
            yield
        finally:
            for member in members:
                self._waited[member.id].remove(member)
                if not self._waited[member.id]:
                    del self._waited[member.id]

    def on_state_change(self, meta: dict[str, Any], message: Any) -> None:
        super().on_state_change(meta, message)
        if meta["status"] not in states.READY_STATES:
            return
        for result in tuple(self._waited.get(meta["task_id"], ())):
            if not result._cache:
                result._maybe_set_cache(meta)
                if (bucket := self.buckets.pop(result, None)) is not None:
                    bucket.append(result)

    def _ask_ledger(self) -> None:
        waiting = list({task_id for each in (*self._pending_results, self._waited) for task_id in list(each)})
        ended = [meta for meta in answers(self.backend.app, waiting) if final(meta)]
        for meta in self.backend.preferably_stored(ended):
            self.on_state_change(meta, None)


def _members(result: Any) -> list[Any]:
    """The results of single jobs in ``result``, which may be a set of sets."""
    if not hasattr(result, "results"):
        return [result]
    return [member for each in result.results for member in _members(each)]
