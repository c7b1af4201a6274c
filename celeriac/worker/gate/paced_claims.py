"""Deliveries of jobs whose limits have a rate: they wait here for their start, and are claimed then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from celeriac.ledger.connection.database import Database
from celeriac.ledger.limits import lines, starts
from celeriac.worker.gate.claim_checks import Answer, ClaimChecks, needs_check
from celeriac.worker.gate.deliveries import AnyDelivery, planned_start

#: Seconds for which a message may say that it waits; anybody may have written it.
_LONGEST = 1.5


@dataclass(frozen=True, slots=True)
class TimedDelivery:
    """A message, and when it is due on the monotonic clock."""

    due: float
    message: Any


@dataclass(slots=True)
class PacedAnswer(Answer):
    """
    Attributes:
        waits: deliveries that stay here.
    """

    waits: dict[AnyDelivery, TimedDelivery] = field(default_factory=dict)


class PacedClaims:
    """Used by the ledger thread alone.

    Workers' clocks may be wrong. So each claim tells how far the database's clock is ahead of the monotonic
    one. What is claimed too early waits as long as the ledger says.

    Args:
        on_freed: called with the permits of jobs that went back into their lines.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        checks: ClaimChecks,
        on_freed: Callable[[Sequence[str]], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._checks = checks
        self._on_freed = on_freed
        self._ahead: float | None = None  # seconds from the monotonic clock to the database's

    def timed(self, message: Any) -> TimedDelivery | None:
        """``message`` as one that waits; None: it is to be claimed now."""
        start = planned_start(message)
        if start is None or self._ahead is None:
            return None
        now, due = time.monotonic(), start / 1e6 - self._ahead
        return TimedDelivery(due, message) if now < due < now + _LONGEST else None

    def claim(self, paced: Sequence[AnyDelivery]) -> PacedAnswer:
        """Claim those that may start now."""
        answer = PacedAnswer()
        with self._database.transaction(idle=lines.IDLE) as connection:
            started = starts.claim(connection, {one.job: one.dispatch for one in paced}, worker=self._worker)
            answer.won = started.won
            refused = [one for one in paced if one.job not in started.waits]
            if needs_check(refused, answer.won):
                self._checks.check(connection, refused, answer)
        self._ahead = started.ahead
        if started.freed:
            self._on_freed(sorted(started.freed))
        now = time.monotonic()
        waits = started.waits
        answer.waits = {
            one: TimedDelivery(now + waits[one.job], one.message) for one in paced if one.job in waits
        }
        return answer
