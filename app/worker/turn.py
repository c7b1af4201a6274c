"""The ledger thread of a worker: each of its turns is one durable transaction.

First the outcomes, then the claims. The event loop never waits for the database: it puts
deliveries and outcomes here, and gets the jobs that were won back.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection

from app.ledger import claims, dispatch, jobs, outcomes, quarantine, workers
from app.ledger.claims import Claimed, Message
from app.ledger.database import UNREACHABLE, Database
from app.ledger.lifecycle import JobState
from app.ledger.outcomes import Outcome
from app.ledger.quarantine import Unreadable
from app.worker import deliveries
from app.worker.deliveries import Delivery
from app.worker.held import Held
from app.worker.watermarks import Watermarks

if TYPE_CHECKING:
    from app.worker.request import JobRequest

logger = logging.getLogger(__name__)

#: While the pool has work, a turn may wait this long for more to share its transaction.
_GATHER = 0.003  # seconds

#: A turn takes at most this many of each.
_MOST = 500

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 2.0  # seconds, while the database is away

_SUSPECT_DELAY = 0.3  # seconds before a job that waits for another suspect's end is sent again

UNKNOWN_DELAY = 30.0  # seconds before a job of an unknown task is sent again
UNKNOWN_LIMIT = 3600.0  # seconds after which it is failed


#: A claim may run this far ahead of the pool, in seconds of its work: enough to hide a turn.
_AHEAD = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    outcome: Outcome
    wants_result: bool


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    jobs: tuple[UUID, ...]


@dataclass(slots=True)
class Work:
    """What one turn has to do."""

    told: list[Told] = field(default_factory=list)
    arrived: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Answer:
    """What the transaction of one turn came to."""

    accepted: dict[UUID, JobState] = field(default_factory=dict)
    won: dict[UUID, Claimed] = field(default_factory=dict)
    rows: dict[UUID, Message] = field(default_factory=dict)


class LedgerThread:
    """One per worker main process.

    Args:
        worker: this start of the worker.
        tasks: the tasks that this worker knows.
        hand_over: takes deliveries that were won, in order; called from this thread.
        drop: takes deliveries that do not run; called from this thread.
        fetch_results: reads results of jobs from the result store, as JSON; those it lost are missing.
        on_change: called after a turn that led to rows that the dispatcher must send.
        concurrency: how many jobs the pool runs at once.
        max_tries: tries of adopted jobs.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        tasks: Any,
        hand_over: Callable[[list[Any]], None],
        fetch_results: Callable[[Sequence[UUID]], dict[UUID, str]],
        drop: Callable[[list[Any]], None],
        on_change: Callable[[], None],
        concurrency: Callable[[], int],
        max_tries: int,
        watermarks: Watermarks,
    ) -> None:
        self.worker = worker
        self.held = Held()
        self.refused = 0  # outcomes that came too late
        self.dropped = 0  # deliveries that were not won
        self._database = database
        self._tasks = tasks
        self._hand_over = hand_over
        self._fetch_results = fetch_results
        self._drop = drop
        self._on_change = on_change
        self._concurrency = concurrency
        self._max_tries = max_tries
        self._pace = _AHEAD  # seconds that a job takes, a moving average
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._work = Work()
        self._watermarks = watermarks
        self._suspect: UUID | None = None  # the one job in hand that was lost more than once
        self._unsure: set[UUID] = set()  # claims whose answer was lost
        self._closing = threading.Event()
        self._claiming = True
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    # ---- from the event loop

    def start(self) -> None:
        self._thread.start()

    def receive(self, message: Any) -> None:
        """Take a delivery; whether it runs is decided in the next turn."""
        self._inbox.put(message)

    def tell(self, outcome: Outcome, request: JobRequest | None = None) -> None:
        """Take what an attempt came to."""
        self.held.ended(outcome.id)
        if request is not None and request.time_start:
            took = max(0.0, time.time() - request.time_start)
            self._pace += 0.1 * (took - self._pace)
        wants = outcome.state is JobState.COMPLETED and request is not None and not request.ignore_result
        self._inbox.put(Told(outcome, wants))

    def doubt(self, jobs: Sequence[UUID]) -> None:
        """Release rows that this worker holds without knowing, unless it knows of them by then."""
        self._inbox.put(Doubt(tuple(jobs)))

    def started(self, job: UUID) -> None:
        self.held.started(job)

    def stop_claiming(self) -> None:
        self._claiming = False

    def close(self, *, within: float) -> bool:
        """Write every outcome, release the rest uncounted, end; False when that took too long."""
        self._claiming = False
        self._closing.set()
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(within)
        return not self._thread.is_alive()

    # ---- the thread

    def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            self._gather()
            try:
                if self._closing.is_set() and not self._work.told:
                    self._finish()
                    return
                if self._work.told or self._work.arrived or self._unsure:
                    self._turn()
                backoff = _FIRST_BACKOFF
            except UNREACHABLE as exc:
                logger.warning("ledger away, outcomes are kept: %s", _first_line(exc))
                backoff = self._rest(backoff)
            except Exception:  # the worker's every outcome goes through this loop: it must live
                logger.exception("turn failed, it is tried again")
                backoff = self._rest(backoff)

    def _rest(self, backoff: float) -> float:
        self._closing.wait(backoff) if not self._closing.is_set() else time.sleep(backoff)
        return min(backoff * 2, _LONGEST_BACKOFF)

    def _gather(self) -> None:
        """Wait until there is something to do, then take what there is."""
        work = self._work
        idle = not (work.told or self._unsure or (work.arrived and self._room() > 0))
        if idle and not self._closing.is_set():  # close() wakes it once, perhaps before its last turn
            self._take(self._inbox.get())
        self._drain()
        if self._claiming and self.held.unfinished() > self._concurrency():
            time.sleep(_GATHER)  # every child has work: more outcomes may share this transaction
            self._drain()

    def _room(self) -> int:
        """How many more jobs may be claimed.

        What is claimed and not started costs a try when this worker dies, and cannot be run by
        another that is idle. So long jobs are claimed as children need them, short ones ahead.
        """
        if not self._claiming:
            return 0
        children = self._concurrency()
        ahead = math.ceil(children * _AHEAD / max(self._pace, 0.0005))
        return children + max(1, ahead) - self.held.unfinished()

    def _drain(self) -> None:
        while len(self._work.told) < _MOST and len(self._work.arrived) < _MOST:
            try:
                self._take(self._inbox.get_nowait())
            except queue.Empty:
                return

    def _take(self, item: Any) -> None:
        if isinstance(item, Told):
            self._work.told.append(item)
        elif isinstance(item, Doubt):
            self._unsure.update(item.jobs)
        elif item is not None:
            self._work.arrived.append(item)

    def _turn(self) -> None:
        work = self._work
        told = self._with_results(work.told)
        room = max(0, self._room())
        taken, later = work.arrived[:room], work.arrived[room:]
        read = [deliveries.read(m, self._tasks, max_tries=self._max_tries) for m in taken]
        self._unsure = {job for job in self._unsure if job not in self.held}
        unreadable = [found for found in read if isinstance(found, Unreadable)]
        mine, copies = self._enter([found for found in read if isinstance(found, Delivery)])
        known = [delivery for delivery in mine if delivery.known]
        unknown = [delivery for delivery in mine if not delivery.known]
        try:
            with self._database.transaction() as connection:
                answer = self._transact(connection, told, unreadable, known, unknown)
        except BaseException:
            # The commit may have been done and only its answer lost: what it won is released first.
            self._unsure.update(delivery.job for delivery in known)
            if self._suspect in self._unsure:
                self._suspect = None
            for delivery in mine:
                self.held.leave(delivery.job)
            raise
        self._work = Work(arrived=later)
        self._unsure = set()
        self._settle(told, answer)
        dropped = self._deliver(known, unknown, answer)
        dropped += [delivery.message for delivery in copies]
        dropped += [
            message for message, found in zip(taken, read, strict=True) if isinstance(found, Unreadable)
        ]
        if dropped:
            self._drop(dropped)

    def _transact(
        self,
        connection: Connection,
        told: Sequence[Told],
        unreadable: Sequence[Unreadable],
        known: Sequence[Delivery],
        unknown: Sequence[Delivery],
    ) -> Answer:
        answer = Answer()
        if self._unsure:
            claims.release_unsure(connection, sorted(self._unsure), worker=self.worker)
        if told:
            answer.accepted = outcomes.record(connection, [item.outcome for item in told], worker=self.worker)
        if unreadable:
            quarantine.bury(connection, unreadable)
        adopted = [delivery.adopted for delivery in (*known, *unknown) if delivery.adopted]
        if adopted:
            jobs.enqueue(connection, adopted)
        if unknown:
            late = [delivery.job for delivery in unknown]
            quarantine.postpone(connection, late, delay=UNKNOWN_DELAY, limit=UNKNOWN_LIMIT)
        if known and self._claiming:
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
        won = claims.claim(connection, ids, worker=self.worker)
        failed = [job for job, claimed in won.items() if claimed.failed_before]
        suspects = sorted(claims.lost_often(connection, failed)) if failed else []
        surplus = suspects if self._suspect else suspects[1:]
        if surplus:
            attempts = [(job, won[job].attempt) for job in surplus]
            for job in claims.release(connection, attempts, worker=self.worker, delay=_SUSPECT_DELAY):
                del won[job]
            self._on_change()  # the dispatcher shall know when they are due
        if suspects and not self._suspect:
            self._suspect = suspects[0]
        return won

    def _enter(self, found: Sequence[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
        """Enter each job once; a second copy of a message must not run whatever the claim says."""
        mine: list[Delivery] = []
        copies: list[Delivery] = []
        for delivery in found:
            (mine if self.held.enter(delivery.job) else copies).append(delivery)
        return mine, copies

    def _settle(self, told: Sequence[Told], answer: Answer) -> None:
        changed = False
        for item in told:
            state = answer.accepted.get(item.outcome.id)
            if state is None:
                self.refused += 1
                logger.info("late outcome refused: job %s, attempt %d", item.outcome.id, item.outcome.attempt)
            changed = changed or state in (JobState.ERROR, JobState.PENDING)
            self.held.leave(item.outcome.id)
            if item.outcome.id == self._suspect:
                self._suspect = None
        if changed:
            self._on_change()

    def _deliver(self, known: Sequence[Delivery], unknown: Sequence[Delivery], answer: Answer) -> list[Any]:
        """Hand over what was won; return the messages of what was not."""
        winners, dropped = [], [delivery.message for delivery in unknown]
        self._watermarks.claimed(answer.won.values())
        for delivery in known:
            claimed = answer.won.get(delivery.job)
            if claimed is None:
                self.dropped += 1
                self.held.leave(delivery.job)
                dropped.append(delivery.message)
            else:
                self.held.won(delivery.job, claimed.attempt)
                row = answer.rows.get(delivery.job)
                winners.append(
                    deliveries.stamped(
                        delivery.message, claimed, row, worker=self.worker, now=datetime.now(UTC)
                    )
                )
        for delivery in unknown:
            self.held.leave(delivery.job)
        if winners:
            self._hand_over(winners)
        return dropped

    def _with_results(self, told: Sequence[Told]) -> list[Told]:
        """Copy the results of completed jobs from the result store, with one request for all."""
        wanting = [item.outcome.id for item in told if item.wants_result]
        if not wanting:
            return list(told)
        found = self._fetch_results(wanting)
        return [
            Told(replace(item.outcome, result=found.get(item.outcome.id)), True)
            if item.wants_result
            else item
            for item in told
        ]

    def _finish(self) -> None:
        """Release what was claimed and not started, and what a cold shutdown cut short; all uncounted."""
        open_attempts = self.held.open()
        read = [deliveries.read(m, self._tasks, max_tries=self._max_tries) for m in self._work.arrived]
        waiting = [found for found in read if isinstance(found, Delivery)]
        with self._database.transaction() as connection:
            if self._unsure:
                claims.release_unsure(connection, sorted(self._unsure), worker=self.worker)
            if open_attempts:
                claims.release(connection, open_attempts, worker=self.worker)
            if waiting:
                jobs.enqueue(connection, [d.adopted for d in waiting if d.adopted] or [])
                dispatch.unmark(connection, [delivery.job for delivery in waiting])
            quarantine.bury(connection, [found for found in read if isinstance(found, Unreadable)])
            workers.sign_off(connection, self.worker)
        for job, _ in open_attempts:
            self.held.leave(job)
        if open_attempts:
            logger.info("released %d jobs that were not finished", len(open_attempts))


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
