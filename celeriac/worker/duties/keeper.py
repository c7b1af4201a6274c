"""The keeper: run a worker's duties for the ledger, in threads. It needs no leader."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from celeriac.events import Event
from celeriac.ledger.connection.database import UNREACHABLE

logger = logging.getLogger(__name__)

_LONGEST_SLEEP = 1.0  # seconds
_FIRST_REST = 0.2  # seconds after a duty failed


@dataclass(slots=True, eq=False)
class Duty:
    """Something that is done regularly.

    Attributes:
        run: does it; may return the seconds until the next run.
        every: the longest time between two runs, in seconds.
        on_poke: whether a poke makes it due at once.
    """

    name: str
    run: Callable[[], float | None]
    every: float
    on_poke: bool = False
    due: float = 0.0  # on the monotonic clock
    rest: float = 0.0


class Keeper:
    """Sleeps until the next duty is due; ``poke`` wakes it when its worker has made something due.

    Args:
        rounds: lists of duties that are done one after the other. Each list has a thread of its own, so that
            a long duty in one does not hold up another.
        on_stop: called when all of them have ended.
        longest_rest: the longest back-off of a failing duty, in seconds. It must stay below a third of the
            silence after which a worker is dead, or the end of an outage would be noticed too late.
    """

    def __init__(
        self, *rounds: list[Duty], longest_rest: float, on_stop: Callable[[], None] = lambda: None
    ) -> None:
        self._on_stop = on_stop
        self._rounds = [_Round(duties, longest_rest) for duties in rounds]

    def start(self) -> None:
        for each in self._rounds:
            each.thread.start()

    def poke(self, duty: str | None = None) -> None:
        """Do a duty at once, or all of those that a poke makes due.

        Short jobs poke several times for each turn: what has nothing to do then must not wake up.
        """
        for each in self._rounds:
            each.poke(duty)

    def stop(self, *, within: float) -> None:
        """End; wait for running duties, for so many seconds at most."""
        end = time.monotonic() + within
        for each in self._rounds:
            each.stopping = True
            each.poked.set()
        for each in self._rounds:
            if each.thread.is_alive():
                each.thread.join(max(0.0, end - time.monotonic()))
        self._on_stop()


class _Round:
    def __init__(self, duties: list[Duty], longest_rest: float) -> None:
        self._duties = duties
        self._longest_rest = longest_rest
        self.poked = threading.Event()
        self.stopping = False
        self.thread = threading.Thread(target=self._run, name=f"keeper-{duties[0].name}", daemon=True)
        self._on_poke = {duty.name for duty in duties if duty.on_poke}

    def poke(self, duty: str | None) -> None:
        if self._on_poke if duty is None else duty in self._on_poke:
            self.poked.set()

    def _run(self) -> None:
        while not self.stopping:
            poked = self.poked.is_set()
            self.poked.clear()
            for duty in self._duties:
                if duty.due <= time.monotonic() or (poked and duty.on_poke and not duty.rest):
                    self._do(duty)
            wait = min(duty.due for duty in self._duties) - time.monotonic()
            self.poked.wait(max(0.0, min(wait, _LONGEST_SLEEP)))

    def _do(self, duty: Duty) -> None:
        try:
            wait = duty.run()
            duty.rest = 0.0
        except Exception as exc:  # the keeper must live through every outage
            duty.rest = wait = min(max(duty.rest * 2, _FIRST_REST), self._longest_rest)
            if isinstance(exc, UNREACHABLE):
                logger.warning(Event.DUTY_WAITS, {"duty": duty.name, "error": type(exc).__name__})
            else:
                logger.exception(Event.DUTY_FAILED, {"duty": duty.name})
        duty.due = time.monotonic() + (duty.every if wait is None else min(wait, duty.every))
