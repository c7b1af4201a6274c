"""Deliveries whose rows another transaction has locked: they are claimed a little later."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.claim_checks import Answer
from celeriac.worker.gate.deliveries import AnyDelivery
from celeriac.worker.gate.lean_job import LeanJob
from celeriac.worker.gate.paced_claims import TimedDelivery

#: Seconds until such a job is claimed again: each time twice as long, and not after the longest.
_FIRST_REST, _LONGEST_REST = 0.02, 2.0


class BusyRows:
    """Used by the ledger thread alone.

    A claim waits for no lock. Without this, the message of a row that a call gives other arguments at just
    that moment would be dropped, and sent again no sooner than the search for lost messages finds it.
    """

    def __init__(self, book: ClaimBook) -> None:
        self._book = book
        self._rests: dict[UUID, float] = {}  # seconds for which each has rested last

    def keep(self, known: Sequence[AnyDelivery], answer: Answer) -> dict[AnyDelivery, TimedDelivery]:
        """Those of ``known`` that wait; they leave the book. One that has waited for long does so no more."""
        if self._rests:
            for job in answer.won:
                self._rests.pop(job, None)
        waits = {}
        for delivery in known if answer.busy else ():
            if delivery.job in answer.busy and (rest := self._next_rest(delivery.job)):
                arrives_as = delivery if isinstance(delivery, LeanJob) else delivery.message
                waits[delivery] = TimedDelivery(time.monotonic() + rest, arrives_as)
                self._book.leave(delivery.job)
        return waits

    def _next_rest(self, job: UUID) -> float | None:
        rest = self._rests.pop(job, _FIRST_REST / 2) * 2
        if rest > _LONGEST_REST:
            return None
        self._rests[job] = rest
        return rest
