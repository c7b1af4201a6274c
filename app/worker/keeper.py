"""The worker's care of the ledger, in a thread of its own: heartbeat and dispatch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID

from app.ledger import workers
from app.ledger.database import Database
from app.worker.dispatcher import Dispatcher

logger = logging.getLogger(__name__)

_LONGEST_SLEEP = 1.0  # seconds


class Keeper:
    """Sleeps until the next thing is due; poked when its own worker made something due."""

    def __init__(self, database: Database, *, worker: UUID, dispatcher: Dispatcher, heartbeat: float) -> None:
        self._database = database
        self._worker = worker
        self._dispatcher = dispatcher
        self._heartbeat = heartbeat
        self._next_beat = 0.0
        self._poked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def poke(self) -> None:
        """Look at once for what is due."""
        self._poked.set()

    def stop(self, *, within: float) -> None:
        self._stopping = True
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(within)

    def _run(self) -> None:
        while not self._stopping:
            self._poked.clear()
            wait = min(self._safely(self._beat), self._safely(self._dispatch))
            self._poked.wait(max(0.0, min(wait, _LONGEST_SLEEP)))

    def _safely(self, duty: Callable[[], float]) -> float:
        try:
            return duty()
        except Exception as exc:  # the keeper must live through every outage
            logger.warning("keeper: %s failed, tried again: %s", duty.__name__.strip("_"), type(exc).__name__)
            return _LONGEST_SLEEP

    def _beat(self) -> float:
        left = self._next_beat - time.monotonic()
        if left > 0:
            return left
        with self._database.statement() as connection:
            workers.beat(connection, self._worker)
        self._next_beat = time.monotonic() + self._heartbeat
        return self._heartbeat

    def _dispatch(self) -> float:
        wait = self._dispatcher.run()
        return _LONGEST_SLEEP if wait is None else wait
