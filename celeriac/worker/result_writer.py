"""Write results to the result store when they are on record: in a thread, since the store may not answer."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from celeriac.events import Event
from celeriac.task.results.carried import CarriedResult

logger = logging.getLogger(__name__)

#: Results by their task ids.
Results = Sequence[tuple[str, CarriedResult]]

#: Results in one request, at most: Redis does nothing else meanwhile.
_MOST = 500


class ResultWriter:
    """
    Args:
        store: stores results with one request; what it cannot store is in the rows.
    """

    def __init__(self, store: Callable[[Results], None]) -> None:
        self._store = store
        self._inbox: queue.SimpleQueue[Results | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, results: Results) -> None:
        """Take results that are on record."""
        if results:
            self._inbox.put(results)

    def stop(self, *, within: float) -> None:
        """Store what was taken by now, and end."""
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(within)

    def _run(self) -> None:
        ends = False
        while not ends:
            found = [self._inbox.get()]
            while not self._inbox.empty():
                found.append(self._inbox.get())
            ends = None in found
            results = [one for some in found if some is not None for one in some]
            for begin in range(0, len(results), _MOST):
                self._write(results[begin : begin + _MOST])

    def _write(self, results: Results) -> None:
        try:
            self._store(results)
        except Exception:  # whatever it is, the next results must be stored
            logger.exception(Event.RESULTS_FAILED)
