"""One turn of the ledger thread: a transaction that records outcomes first and claims jobs second.

``ledger_thread.py`` decides when a turn is taken, and repeats it when the database is away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import is_of_values, kind, said
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import dispatch, held, worker_rows
from celeriac.ledger.writes import claims, outcomes, quarantine
from celeriac.ledger.writes.claims import Claimed, Message
from celeriac.ledger.writes.quarantine import Unreadable
from celeriac.worker.attempt_report import AttemptReport, Freed, carried_results, with_results
from celeriac.worker.counters import Meter
from celeriac.worker.gate import deliveries
from celeriac.worker.gate.adoption import adopt
from celeriac.worker.gate.busy_rows import BusyRows
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.claim_checks import UNKNOWN_DELAY, Answer, ClaimChecks, needs_check
from celeriac.worker.gate.deliveries import AnyDelivery, Delivery
from celeriac.worker.gate.lean_job import LeanJob
from celeriac.worker.gate.paced_claims import PacedAnswer, PacedClaims
from celeriac.worker.gate.refused_turn import Refused, lost, one_by_one, write_dead_letter
from celeriac.worker.gate.turn_callbacks import TurnCallbacks
from celeriac.worker.gate.turn_input import DeferredOutcome, TurnInput, only_completes_and_claims
from celeriac.worker.pauses import Pauses
from celeriac.worker.short_turn import ShortTurn
from celeriac.worker.watermarks import Watermarks

logger = logging.getLogger(__name__)

UNKNOWN_LIMIT = 3600.0  # seconds after which it is failed


class Turn:
    """Takes turns, always in the same thread.

    Args:
        worker: the id of this start of the worker.
        tasks: the tasks that this worker knows.
        max_tries: tries of adopted jobs whose task says nothing of it.
        declared: the tasks themselves, by name.
        signs: whether only signed messages are taken.
        meter: what is counted.
        pauses: what is paused; None: nothing ever is.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        book: ClaimBook,
        tasks: Any,
        max_tries: int,
        declared: Mapping[str, Any] | None = None,
        watermarks: Watermarks,
        callbacks: TurnCallbacks,
        meter: Meter,
        signs: bool = False,
        pauses: Pauses | None = None,
    ) -> None:
        self._database = database
        self._worker = worker
        self._book = book
        self._tasks = tasks
        self._max_tries = max_tries
        self._declared = declared or {}
        self._watermarks = watermarks
        self._callbacks = callbacks
        self._meter = meter
        self._signs = signs
        self._pauses = pauses
        self._short = ShortTurn(
            database, worker=worker, known_limits=callbacks.known_limits, on_admitted=callbacks.on_admitted
        )
        self._checks = ClaimChecks(worker=worker, tasks=tasks, on_change=callbacks.on_change, pauses=pauses)
        self.paced = PacedClaims(
            database,
            worker=worker,
            checks=self._checks,
            on_freed=lambda freed: callbacks.on_freed(Freed(freed)),
        )
        self._busy = BusyRows(book)
        self._rested: dict[UUID, float] = {}  # seconds for which the outcomes of this turn were deferred last

    def take(self, work: TurnInput, *, claim_limit: int) -> TurnInput:
        """Do ``work``, claiming at most ``room`` jobs; return what is left of it.

        Raises:
            Exception: ``work`` is still to be done. As far as is known, nothing of it was committed.
        """
        self._take_up_deferred(work)
        if work.unchecked:
            self._check_unchecked(work)
        try:
            return self._in_one_transaction(work, claim_limit)
        except Refused as exc:
            logger.warning(Event.TURN_NARROWED, {"error": f"{kind(exc.why)}: {said(exc.why)}"})
        return one_by_one(
            work, claim_limit=claim_limit, take=self._in_one_transaction, quarantine=self._quarantine
        )

    def _take_up_deferred(self, work: TurnInput) -> None:
        """Add the deferred outcomes that are due to the reports."""
        now = time.monotonic()
        due = [one for one in work.deferred if one.due <= now]
        work.deferred = [one for one in work.deferred if one.due > now]
        self._rested = {one.report.outcome.id: one.rest for one in due}
        work.reports += [one.report for one in due]

    def _in_one_transaction(self, work: TurnInput, claim_limit: int) -> TurnInput:
        """Do ``work`` in one transaction."""
        began = time.monotonic()
        reports = with_results(work.reports, self._callbacks.fetch_results)
        taken, later = work.arrived[:claim_limit], work.arrived[claim_limit:]
        read = self._read(taken)
        work.uncertain = {job for job in work.uncertain if job not in self._book}
        unreadable = [found for found in read if isinstance(found, Unreadable)]
        entered, copies = self._enter([found for found in read if not isinstance(found, Unreadable)])
        try:
            known, unknown = self._by_known_task(entered)
            stopped = self._stopped(known)
            others = work.uncertain or unreadable or unknown or stopped
            if others or not only_completes_and_claims(reports, known):
                with self._database.transaction() as connection:
                    self._release_uncertain(connection, work)
                    answer = self._transact(connection, reports, unreadable, known, unknown, stopped)
                work.deferred += self._leave_book(reports, answer)
            else:
                unpaced = [one for one in known if not one.is_paced]
                answer = self._complete_and_claim(reports, unpaced)
                work.deferred += self._leave_book(reports, answer)
                work.reports = []
                self._check_claims_separately(unpaced, answer)
            work.reports = []
            paced = self._claim_paced(known, answer)
        except BaseException as exc:  # whatever it is, the transaction may have been committed
            self._note_uncertain(work, entered)
            if is_of_values(exc):
                raise Refused from exc
            raise
        self._meter.observe_turn(time.monotonic() - began, jobs=len(reports) + len(taken))
        waits = paced.waits | self._busy.keep(known, answer)
        dropped = self._deliver([one for one in known if one not in waits], unknown, answer)
        dropped += [delivery.message for delivery in copies]
        dropped += [one for one, found in zip(taken, read, strict=True) if isinstance(found, Unreadable)]
        if dropped:
            self._callbacks.drop(dropped)
        return TurnInput(arrived=later, deferred=work.deferred, timed=[*work.timed, *waits.values()])

    def _quarantine(self, message: Any, reason: str) -> None:
        write_dead_letter(self._database, message, reason)
        self._callbacks.drop([message])

    def finish(self, work: TurnInput, *, ended_by: str | None = None) -> None:
        """Sign off: release, uncounted, jobs that were not started or that a cold shutdown interrupted.

        Args:
            ended_by: the exception that ended the worker. Any of its jobs may be the cause, so they are
                recorded as lost. Otherwise a job that ends its worker each time would do so for ever.
        """
        open_attempts = self._book.open()
        read = self._read(work.arrived)
        waiting = [found for found in read if not isinstance(found, Unreadable)]
        done = self._done_elsewhere(waiting)
        waiting = [found for found in waiting if found.job not in done]
        with self._database.transaction() as connection:
            self._release_uncertain(connection, work)
            if open_attempts and ended_by:
                ended = [lost(job, attempt, ended_by) for job, attempt in open_attempts]
                outcomes.record(connection, ended, worker=self._worker)
            elif open_attempts:
                claims.release(connection, open_attempts, worker=self._worker)
            if waiting:
                adopt(connection, [d.adopted for d in waiting if d.adopted])
                dispatch.unmark(connection, [delivery.job for delivery in waiting], skip=True)
            quarantine.write_dead_letters(
                connection, [found for found in read if isinstance(found, Unreadable)]
            )
            worker_rows.sign_off(connection, self._worker)
        if work.deferred:
            logger.error(Event.OUTCOMES_LEFT, {"jobs": len(work.deferred)})
        for job, _ in open_attempts:
            self._book.leave(job)
        if open_attempts and ended_by:
            logger.error(Event.LOST_WITH_WORKER, {"jobs": len(open_attempts), "error": ended_by})
        elif open_attempts:
            logger.info(Event.RELEASED, {"jobs": len(open_attempts)})

    def _transact(
        self,
        connection: Connection,
        reports: Sequence[AttemptReport],
        unreadable: Sequence[Unreadable],
        known: Sequence[AnyDelivery],
        unknown: Sequence[AnyDelivery],
        stopped: Sequence[UUID],
    ) -> Answer:
        answer = Answer()
        if reports:
            answer.accepted = outcomes.record(
                connection, [item.outcome for item in reports], worker=self._worker
            )
            answer.locked = self._locked(connection, reports, answer.accepted)
        if unreadable:
            quarantine.write_dead_letters(connection, unreadable)
        adopted = [delivery.adopted for delivery in (*known, *unknown) if delivery.adopted]
        if adopted:
            adopt(connection, adopted)
        if unknown:
            late = [delivery.job for delivery in unknown]
            quarantine.postpone(connection, late, delay=UNKNOWN_DELAY, limit=UNKNOWN_LIMIT)
        answer.put_away = held.hold(connection, stopped) if stopped else ()
        if due := [one for one in known if one.job not in answer.put_away and not one.is_paced]:
            answer.won = claims.claim(connection, [delivery.job for delivery in due], worker=self._worker)
            self._checks.check(connection, due, answer)
        return answer

    def _stopped(self, known: Sequence[AnyDelivery]) -> list[UUID]:
        """The jobs whose queue or task is paused, as far as this worker knows."""
        pauses = self._pauses
        return [one.job for one in known if pauses and pauses.stop(one.queue, one.task)]

    def _complete_and_claim(self, reports: Sequence[AttemptReport], known: Sequence[AnyDelivery]) -> Answer:
        """The most frequent turn in one statement, without BEGIN and COMMIT: only completions and claims."""
        done = self._short.take(reports, [one.job for one in known])
        answer = Answer(accepted=done.accepted, won=done.won, handed_on=done.handed_on)
        if len(answer.accepted) < len(reports):
            with self._database.statement() as connection:
                answer.locked = self._locked(connection, reports, answer.accepted)
        return answer

    def _claim_paced(self, known: Sequence[AnyDelivery], answer: Answer) -> PacedAnswer:
        """Claim the jobs that have a rate, in a transaction that locks what others claim by."""
        due = [one for one in known if one.is_paced and one.job not in answer.put_away]
        paced = self.paced.claim(due) if due else PacedAnswer()
        answer.won |= paced.won
        answer.rows |= paced.rows
        answer.busy |= paced.busy
        for delivery in paced.waits:
            self._book.leave(delivery.job)
        return paced

    def _locked(
        self, connection: Connection, reports: Sequence[AttemptReport], accepted: Mapping[UUID, JobState]
    ) -> set[UUID]:
        """Which outcomes were not accepted because another transaction has their rows."""
        missing = [item.outcome for item in reports if item.outcome.id not in accepted]
        return outcomes.locked(connection, missing, worker=self._worker) if missing else set()

    def _check_claims_separately(self, known: Sequence[AnyDelivery], answer: Answer) -> None:
        """Check what ``_complete_and_claim`` claimed; seldom needed."""
        if needs_check(known, answer.won):
            with self._database.statement() as connection:
                self._checks.check(connection, known, answer)

    def _check_unchecked(self, work: TurnInput) -> None:
        """Check what the event loop has claimed; hand over what remains of it."""
        jobs, work.unchecked = work.unchecked, []
        answer = Answer(won={one.job: one.claimed for one in jobs if one.claimed})
        try:
            with self._database.statement() as connection:
                self._checks.check(connection, jobs, answer)
        except BaseException:  # whatever it is, they are released and claimed again
            self._note_uncertain(work, jobs)
            work.arrived[:0] = jobs
            raise
        waits = self._busy.keep(jobs, answer)
        work.timed += waits.values()
        if dropped := self._deliver([one for one in jobs if one not in waits], (), answer):
            self._callbacks.drop(dropped)

    def _enter(self, found: Sequence[AnyDelivery]) -> tuple[list[AnyDelivery], list[AnyDelivery]]:
        """Enter each job once; a second copy of a message must not run, whatever the claim answers."""
        entered: list[AnyDelivery] = []
        copies: list[AnyDelivery] = []
        done = self._done_elsewhere(found)
        for delivery in found:
            fresh = delivery.job not in done and self._book.enter(delivery.job, delivery.task)
            (entered if fresh else copies).append(delivery)
        return entered, copies

    def _done_elsewhere(self, found: Sequence[AnyDelivery]) -> set[UUID]:
        done = deliveries.done_elsewhere(found, self._callbacks.fetch_states)
        for job in done:
            logger.info(Event.DONE_ELSEWHERE, {"job": job})
        return done

    def _by_known_task(self, entered: Sequence[AnyDelivery]) -> tuple[list[AnyDelivery], list[AnyDelivery]]:
        """Deliveries whose task this worker knows, and the others. The row decides, not the message.

        A forged or damaged copy must not postpone a row whose task this worker knows.
        """
        doubted = [
            delivery.job for delivery in entered if not delivery.known and delivery.dispatch is not None
        ]
        if doubted:
            with self._database.reading() as connection:
                tasks = claims.tasks(connection, doubted)
            good = {job for job, task in tasks.items() if task in self._tasks}
            entered = [
                replace(d, known=True, dispatch=-1) if isinstance(d, Delivery) and d.job in good else d
                for d in entered
            ]
        return [d for d in entered if d.known], [d for d in entered if not d.known]

    def _leave_book(self, reports: Sequence[AttemptReport], answer: Answer) -> list[DeferredOutcome]:
        """Remove reported jobs from the book; return outcomes that are deferred because of locked rows."""
        changed = False
        deferred = [
            DeferredOutcome.locked(item, rested=self._rested.get(item.outcome.id, 0.0))
            for item in reports
            if item.outcome.id in answer.locked
        ]
        reports = [item for item in reports if item.outcome.id not in answer.locked]
        self._meter.ended(reports, answer.accepted)
        for item in reports:
            state = answer.accepted.get(item.outcome.id)
            if state is None:
                logger.info(Event.LATE_OUTCOME, {"job": item.outcome.id, "attempt": item.outcome.attempt})
            changed = changed or state in (JobState.ERROR, JobState.PENDING)
            self._book.leave(item.outcome.id)
            self._checks.ended(item.outcome.id)
        if any(item.permits for item in reports):  # so that others are admitted at once
            self._callbacks.on_freed(Freed.by(reports, but=answer.handed_on))
        if followed := [item.outcome.id for item in reports if item.unique]:
            self._callbacks.on_followed(followed)
        self._callbacks.store_results(carried_results(reports, answer.accepted))
        if changed:
            self._callbacks.on_change()
        return deferred

    def _deliver(
        self, known: Sequence[AnyDelivery], unknown: Sequence[AnyDelivery], answer: Answer
    ) -> list[Any]:
        """Hand over the messages of jobs that were won; return the other messages."""
        winners, dropped = [], [delivery.message for delivery in unknown]
        # Without adopted jobs: these count as dispatched now, however old their messages are.
        ours = (answer.won[d.job] for d in known if d.job in answer.won and not d.adopted)
        self._watermarks.claimed(ours)
        self._meter.claimed(answer.won.values())
        for delivery in known:
            claimed = answer.won.get(delivery.job)
            if claimed is None:
                self._meter.dropped.inc()
                self._book.leave(delivery.job)
                dropped.append(delivery.message)
            else:
                self._book.won(delivery.job, claimed.attempt)
                winners.append(self._won(delivery, claimed, answer.rows.get(delivery.job)))
        self._book.leave(*(delivery.job for delivery in unknown))
        if winners:
            self._callbacks.hand_over(winners)
        return dropped

    def _won(self, delivery: AnyDelivery, claimed: Claimed, row: Message | None) -> Any:
        """What is handed over of a job that was won."""
        if isinstance(delivery, LeanJob):
            delivery.claimed, delivery.row = claimed, row
            return delivery
        return deliveries.stamped(delivery.message, claimed, row, worker=self._worker, now=datetime.now(UTC))

    def _release_uncertain(self, connection: Connection, work: TurnInput) -> None:
        if work.uncertain:
            claims.release_uncertain(connection, sorted(work.uncertain), worker=self._worker)

    def _note_uncertain(self, work: TurnInput, entered: Sequence[AnyDelivery]) -> None:
        """After a failure: note jobs that may be claimed, because only the commit's answer may be lost.

        The next turn releases them first.
        """
        work.uncertain.update(delivery.job for delivery in entered if delivery.known)
        self._checks.ended(*work.uncertain)
        for delivery in entered:
            self._book.leave(delivery.job)

    def _read(self, messages: Sequence[Any]) -> list[AnyDelivery | Unreadable]:
        return [
            m
            if isinstance(m, LeanJob)  # it was read when it was drawn
            else deliveries.read(
                m, self._tasks, max_tries=self._max_tries, declared=self._declared, signs=self._signs
            )
            for m in messages
        ]
