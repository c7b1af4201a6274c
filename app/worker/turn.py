"""One turn of the ledger thread: a durable transaction, first the outcomes, then the claims.

What is read, won, lost or refused in it is settled here; when a turn is taken, and what becomes of
it when the database is away, is the thread's affair (``app.worker.ledger_thread``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from app.events import Event
from app.ledger import claims, dispatch, jobs, outcomes, quarantine, workers
from app.ledger.claims import Claimed, Message
from app.ledger.database import Database
from app.ledger.lifecycle import JobState
from app.ledger.quarantine import Unreadable
from app.worker import deliveries
from app.worker.deliveries import Delivery
from app.worker.held import Held
from app.worker.meter import Meter
from app.worker.watermarks import Watermarks
from app.worker.work import Told, Work

logger = logging.getLogger(__name__)

_SUSPECT_DELAY = 0.3  # seconds before a job that waits for another suspect's end is sent again

UNKNOWN_DELAY = 30.0  # seconds before a job of an unknown task is sent again
UNKNOWN_LIMIT = 3600.0  # seconds after which it is failed


@dataclass(slots=True)
class Answer:
    """What the transaction of one turn came to."""

    accepted: dict[UUID, JobState] = field(default_factory=dict)
    won: dict[UUID, Claimed] = field(default_factory=dict)
    rows: dict[UUID, Message] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Where a turn's findings go, and what it asks; all of it is called from the ledger thread.

    Attributes:
        hand_over: takes deliveries that were won, in order.
        drop: takes deliveries that do not run.
        fetch_results: reads results of jobs from the result store, as JSON; those it lost are missing.
        on_change: called after a turn that led to rows that the dispatcher must send.
    """

    hand_over: Callable[[list[Any]], None]
    drop: Callable[[list[Any]], None]
    fetch_results: Callable[[Sequence[UUID]], dict[UUID, str]]
    on_change: Callable[[], None]


class Turn:
    """Taken again and again, by one thread.

    Args:
        worker: this start of the worker.
        tasks: the tasks that this worker knows.
        max_tries: tries of adopted jobs.
        signs: whether only signed messages are taken.
        meter: what is counted.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        held: Held,
        tasks: Any,
        max_tries: int,
        watermarks: Watermarks,
        ways: Ways,
        meter: Meter,
        signs: bool = False,
    ) -> None:
        self._database = database
        self._worker = worker
        self._held = held
        self._tasks = tasks
        self._max_tries = max_tries
        self._watermarks = watermarks
        self._ways = ways
        self._meter = meter
        self._signs = signs
        self._suspect: UUID | None = None  # the one job in hand that was lost more than once

    def take(self, work: Work, *, room: int) -> Work:
        """Do ``work``, claiming at most ``room`` jobs; return what is left of it.

        Raises:
            Exception: nothing was committed, as far as is known; ``work`` stays to be done.
        """
        began = time.monotonic()
        told = self._with_results(work.told)
        taken, later = work.arrived[:room], work.arrived[room:]
        read = self._read(taken)
        work.unsure = {job for job in work.unsure if job not in self._held}
        unreadable = [found for found in read if isinstance(found, Unreadable)]
        mine, copies = self._enter([found for found in read if isinstance(found, Delivery)])
        known = [delivery for delivery in mine if delivery.known]
        unknown = [delivery for delivery in mine if not delivery.known]
        alone = not (work.unsure or unreadable or unknown) and _is_one_statement(told, known)
        try:
            with self._database.statement() if alone else self._database.transaction() as connection:
                self._release_unsure(connection, work)
                answer = self._transact(connection, told, unreadable, known, unknown)
        except BaseException:
            self._forget(work, mine)
            raise
        self._meter.took_turn(time.monotonic() - began, jobs=len(told) + len(taken))
        self._settle(told, answer)
        dropped = self._deliver(known, unknown, answer)
        dropped += [delivery.message for delivery in copies]
        dropped += [
            message for message, found in zip(taken, read, strict=True) if isinstance(found, Unreadable)
        ]
        if dropped:
            self._ways.drop(dropped)
        return Work(arrived=later)

    def finish(self, work: Work) -> None:
        """Release what was claimed and not started, and what a cold shutdown cut short; all uncounted."""
        open_attempts = self._held.open()
        read = self._read(work.arrived)
        waiting = [found for found in read if isinstance(found, Delivery)]
        with self._database.transaction() as connection:
            self._release_unsure(connection, work)
            if open_attempts:
                claims.release(connection, open_attempts, worker=self._worker)
            if waiting:
                jobs.enqueue(connection, [d.adopted for d in waiting if d.adopted] or [])
                dispatch.unmark(connection, [delivery.job for delivery in waiting])
            quarantine.bury(connection, [found for found in read if isinstance(found, Unreadable)])
            workers.sign_off(connection, self._worker)
        for job, _ in open_attempts:
            self._held.leave(job)
        if open_attempts:
            logger.info(Event.RELEASED, {"jobs": len(open_attempts)})

    def _transact(
        self,
        connection: Connection,
        told: Sequence[Told],
        unreadable: Sequence[Unreadable],
        known: Sequence[Delivery],
        unknown: Sequence[Delivery],
    ) -> Answer:
        answer = Answer()
        if told:
            answer.accepted = outcomes.record(
                connection, [item.outcome for item in told], worker=self._worker
            )
        if unreadable:
            quarantine.bury(connection, unreadable)
        adopted = [delivery.adopted for delivery in (*known, *unknown) if delivery.adopted]
        if adopted:
            jobs.enqueue(connection, adopted)
        if unknown:
            late = [delivery.job for delivery in unknown]
            quarantine.postpone(connection, late, delay=UNKNOWN_DELAY, limit=UNKNOWN_LIMIT)
        if known:
            answer.won = self._claim(connection, [delivery.job for delivery in known])
            old = [
                d.job for d in known if d.job in answer.won and d.dispatch != answer.won[d.job].dispatch_count
            ]
            if old:
                answer.rows = claims.messages(connection, old)
            if len(answer.won) < len(known):
                claims.expire(connection, [d.job for d in known if d.job not in answer.won])
        return answer

    def _claim(self, connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Claimed]:
        """Claim, but hold at most one job that was lost more than once.

        Poison that kills its worker takes what runs beside it along twice at most; what merely
        outlived a dead worker is run side by side.
        """
        won = claims.claim(connection, ids, worker=self._worker)
        failed = [job for job, claimed in won.items() if claimed.failed_before]
        suspects = sorted(claims.lost_often(connection, failed)) if failed else []
        surplus = suspects if self._suspect else suspects[1:]
        if surplus:
            attempts = [(job, won[job].attempt) for job in surplus]
            for job in claims.release(connection, attempts, worker=self._worker, delay=_SUSPECT_DELAY):
                del won[job]
            self._ways.on_change()  # the dispatcher shall know when they are due
        if suspects and not self._suspect:
            self._suspect = suspects[0]
        return won

    def _enter(self, found: Sequence[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
        """Enter each job once; a second copy of a message must not run whatever the claim says."""
        mine: list[Delivery] = []
        copies: list[Delivery] = []
        for delivery in found:
            (mine if self._held.enter(delivery.job) else copies).append(delivery)
        return mine, copies

    def _settle(self, told: Sequence[Told], answer: Answer) -> None:
        changed = False
        self._meter.ended(told, answer.accepted)
        for item in told:
            state = answer.accepted.get(item.outcome.id)
            if state is None:
                logger.info(Event.LATE_OUTCOME, {"job": item.outcome.id, "attempt": item.outcome.attempt})
            changed = changed or state in (JobState.ERROR, JobState.PENDING)
            self._held.leave(item.outcome.id)
            if item.outcome.id == self._suspect:
                self._suspect = None
        if changed:
            self._ways.on_change()

    def _deliver(self, known: Sequence[Delivery], unknown: Sequence[Delivery], answer: Answer) -> list[Any]:
        """Hand over what was won; return the messages of what was not."""
        winners, dropped = [], [delivery.message for delivery in unknown]
        self._watermarks.claimed(answer.won.values())
        self._meter.claimed(answer.won.values())
        for delivery in known:
            claimed = answer.won.get(delivery.job)
            if claimed is None:
                self._meter.dropped.inc()
                self._held.leave(delivery.job)
                dropped.append(delivery.message)
            else:
                self._held.won(delivery.job, claimed.attempt)
                row = answer.rows.get(delivery.job)
                winners.append(
                    deliveries.stamped(
                        delivery.message, claimed, row, worker=self._worker, now=datetime.now(UTC)
                    )
                )
        for delivery in unknown:
            self._held.leave(delivery.job)
        if winners:
            self._ways.hand_over(winners)
        return dropped

    def _with_results(self, told: Sequence[Told]) -> list[Told]:
        """Copy the results of completed jobs from the result store, with one request for all."""
        wanting = [item.outcome.id for item in told if item.wants_result]
        if not wanting:
            return list(told)
        found = self._ways.fetch_results(wanting)
        return [
            replace(item, outcome=replace(item.outcome, result=found.get(item.outcome.id)))
            if item.wants_result
            else item
            for item in told
        ]

    def _release_unsure(self, connection: Connection, work: Work) -> None:
        if work.unsure:
            claims.release_unsure(connection, sorted(work.unsure), worker=self._worker)

    def _forget(self, work: Work, mine: Sequence[Delivery]) -> None:
        """After a failure: the commit may have been done and only its answer lost.

        What it won is released first in the next turn.
        """
        work.unsure.update(delivery.job for delivery in mine if delivery.known)
        if self._suspect in work.unsure:
            self._suspect = None
        for delivery in mine:
            self._held.leave(delivery.job)

    def _read(self, messages: Sequence[Any]) -> list[Delivery | Unreadable]:
        return [
            deliveries.read(m, self._tasks, max_tries=self._max_tries, signs=self._signs) for m in messages
        ]


def _is_one_statement(told: Sequence[Told], known: Sequence[Delivery]) -> bool:
    """Whether one statement does all, or all that matters: then it is its own transaction.

    An idle worker's job starts and ends in such turns, and need not pay for BEGIN and COMMIT. What may
    follow a claim (``messages``, ``expire``, the release of suspects) stands alone as well.
    """
    if told:
        return not known and all(item.outcome.state is JobState.COMPLETED for item in told)
    return not any(delivery.adopted for delivery in known)
