"""Checks after a claim: repeated losses, old copies of messages, deliveries that were not won.

A claim looks at nothing but the row's state and times. What is seldom needed is read here, afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.claims import Claimed, Message
from celeriac.worker.gate.deliveries import AnyDelivery
from celeriac.worker.pauses import Pauses

#: Seconds before a job that may be poison is sent again, when the worker holds another such job.
_POISON_DELAY = 0.3

UNKNOWN_DELAY = 30.0  # seconds before a job of an unknown task is sent again


@dataclass(slots=True)
class Answer:
    """The result of one turn's transaction.

    Attributes:
        accepted: the states that outcomes led to.
        locked: jobs whose outcomes another transaction holds up; they are written in a later turn.
        won: the jobs that were claimed.
        rows: the rows of claimed jobs whose message was an old copy.
        put_away: jobs that are held, as their queue or task is paused.
        busy: jobs that were not claimed, because another transaction has locked their rows.
        handed_on: permits that the next jobs of their lines have got.
    """

    accepted: dict[UUID, JobState] = field(default_factory=dict)
    locked: set[UUID] = field(default_factory=set)
    won: dict[UUID, Claimed] = field(default_factory=dict)
    rows: dict[UUID, Message] = field(default_factory=dict)
    put_away: Collection[UUID] = ()
    busy: set[UUID] = field(default_factory=set)
    handed_on: frozenset[str] = frozenset()


class ClaimChecks:
    """Made by one worker after its claims.

    Args:
        tasks: the tasks that this worker knows.
        on_change: called when rows were released that the dispatcher must send.
        pauses: what is paused; None: nothing ever is.
    """

    def __init__(
        self,
        *,
        worker: UUID,
        tasks: Container[str],
        on_change: Callable[[], None],
        pauses: Pauses | None = None,
    ) -> None:
        self._worker = worker
        self._tasks = tasks
        self._on_change = on_change
        self._pauses = pauses
        self._poison_candidate: UUID | None = None  # the one job held that was lost more than once

    def ended(self, *jobs: UUID) -> None:
        """Note that this worker holds ``jobs`` no more."""
        if self._poison_candidate in jobs:
            self._poison_candidate = None

    def check(self, connection: Connection, known: Sequence[AnyDelivery], answer: Answer) -> None:
        """Check what was claimed; remove from ``answer.won`` what is given back.

        Args:
            known: the deliveries that were to be claimed.
        """
        won = answer.won
        before = set(won)
        if failed := [job for job, claimed in won.items() if claimed.failed_before]:
            self._hold_one_poison_candidate(
                connection, sorted(claims.lost_repeatedly(connection, failed)), won
            )
        if strays := [d.job for d in known if d.job in won and _is_stray(d, won[d.job])]:
            self._give_back(connection, strays, won, delay=0.0)
        if old := [d.job for d in known if d.job in won and not d.is_of(won[d.job])]:
            answer.rows = claims.messages(connection, old)
            self._release_unknown_tasks(connection, answer)
            self._release_paused(connection, answer)
        if missing := [d.job for d in known if d.job not in before]:
            claims.expire(connection, missing)
            answer.busy |= claims.locked(connection, missing)

    def _release_unknown_tasks(self, connection: Connection, answer: Answer) -> None:
        """Give back jobs whose message named another task than the row does, if the row's is unknown here."""
        strange = [job for job, row in answer.rows.items() if row.job_type not in self._tasks]
        if strange:
            self._give_back(connection, strange, answer.won, delay=UNKNOWN_DELAY)

    def _give_back(
        self, connection: Connection, jobs: Sequence[UUID], won: dict[UUID, Claimed], *, delay: float
    ) -> None:
        attempts = [(job, won.pop(job).attempt) for job in jobs]
        claims.release(connection, attempts, worker=self._worker, delay=delay)
        self._on_change()

    def _release_paused(self, connection: Connection, answer: Answer) -> None:
        """Give back jobs whose message was an old copy from elsewhere, if their row's place is paused."""
        pauses, won = self._pauses, answer.won
        rows = [row for row in answer.rows.values() if row.id in won]
        stopped = [row.id for row in rows if pauses and pauses.stop(row.queue, row.job_type)]
        if stopped:
            attempts = [(job, won.pop(job).attempt) for job in stopped]
            claims.release(connection, attempts, worker=self._worker)
            self._on_change()  # the dispatcher holds them

    def _hold_one_poison_candidate(
        self, connection: Connection, candidates: Sequence[UUID], won: dict[UUID, Claimed]
    ) -> None:
        """Hold at most one job that was lost more than once, and give the others back.

        A job that kills its worker then costs the jobs that run with it two attempts at most. Jobs that were
        lost only once are not held back.
        """
        surplus = candidates if self._poison_candidate else candidates[1:]
        if surplus:
            attempts = [(job, won[job].attempt) for job in surplus]
            for job in claims.release(connection, attempts, worker=self._worker, delay=_POISON_DELAY):
                del won[job]
            self._on_change()  # the dispatcher must learn when they are due
        if candidates and not self._poison_candidate:
            self._poison_candidate = candidates[0]


def _is_stray(delivery: AnyDelivery, claimed: Claimed) -> bool:
    """Whether an old copy was left in a list that is no more the job's: an operator has moved it.

    From there it must not run. This worker may not be one that its new queue is for.
    """
    found_in = delivery.message.delivery_info.get("routing_key")
    return not delivery.is_of(claimed) and found_in != claimed.queue


def needs_check(known: Sequence[AnyDelivery], won: Mapping[UUID, Claimed]) -> bool:
    """Whether ``ClaimChecks.check`` has anything to do."""
    if len(won) < len(known):
        return True
    return any(won[d.job].failed_before or not d.is_of(won[d.job]) for d in known)
