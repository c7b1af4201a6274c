"""The most frequent turn: attempts that were completed, and claims, in one statement.

Where a job that ended had permits for which the next of its line waits, it gets them in the same transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from celeriac.events import Event
from celeriac.ledger.connection import one_trip
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import kind, said
from celeriac.ledger.limits import handing_on, lines
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.claims import Claimed, Message
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.ledger.writes.turn import complete_and_claim
from celeriac.worker.attempt_report import AttemptReport

logger = logging.getLogger(__name__)

_REST = 5.0  # seconds after a failure, in which keepers alone give permits on


@dataclass(frozen=True, slots=True)
class Short:
    """What came of it.

    Attributes:
        accepted: the states that outcomes led to.
        won: the jobs that were claimed.
        handed_on: permits that the next jobs of their lines have got.
    """

    accepted: dict[UUID, JobState]
    won: dict[UUID, Claimed]
    handed_on: frozenset[str] = frozenset()


class ShortTurn:
    """Used by the ledger thread alone.

    Args:
        worker: the id of this start of the worker.
        known_limits: the limits as they were read last, by name.
        on_admitted: takes the messages of jobs that have got permits.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        known_limits: Callable[[], Mapping[str, KnownLimit]],
        on_admitted: Callable[[Sequence[Message]], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._known_limits = known_limits
        self._on_admitted = on_admitted
        self._rests_until = 0.0

    def take(self, reports: Sequence[AttemptReport], ids: Sequence[UUID]) -> Short:
        """Record attempts that were completed, and claim the jobs ``ids``."""
        completed = [item.outcome for item in reports]
        if ended := self._ended(reports):
            return self._hand_on(completed, ids, ended)
        accepted, won = complete_and_claim.complete_and_claim(
            self._database, completed, ids, worker=self._worker
        )
        return Short(accepted, won)

    def _ended(self, reports: Sequence[AttemptReport]) -> list[tuple[str, ...]]:
        """The permits of each job that may hand its own on."""
        if not any(item.permits for item in reports) or time.monotonic() < self._rests_until:
            return []
        limits = self._known_limits()
        found = [item.permits for item in reports if handing_on.may_hand_on(item.permits, limits)]
        return found if found and one_trip.are_possible(self._database) else []

    def _hand_on(
        self, completed: Sequence[Outcome], ids: Sequence[UUID], ended: Sequence[Sequence[str]]
    ) -> Short:
        step = complete_and_claim.step(completed, ids, worker=self._worker)
        try:
            with one_trip.transaction_of_trips(self._database, idle=lines.IDLE) as connection:
                handed = handing_on.hand_on(connection, step, ended, self._known_limits())
        except Exception as exc:  # whatever it is, outcomes are written without this
            self._rests_until = time.monotonic() + _REST
            logger.info(Event.NOT_HANDED_ON, {"error": f"{kind(exc)}: {said(exc)}"})
            raise
        if handed.messages:
            self._on_admitted(handed.messages)
        accepted, won = complete_and_claim.read(handed.before, bool(completed), bool(ids))
        return Short(accepted, won, handed.done)
