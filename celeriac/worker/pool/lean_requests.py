"""The jobs of the lean lane between the consumer and the burst pool, and Celery's requests of them.

A request is made by Celery's own strategy from the message that was kept, so that everything that is told
through it is told as ever.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import signals
from celery.app import trace
from celery.worker import state

from celeriac.events import Event
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.worker.attempt_report import AttemptReport
from celeriac.worker.burst.bundle import tells_of_jobs
from celeriac.worker.gate.lean_job import LeanJob
from celeriac.worker.gate.lean_lane import LeanLane
from celeriac.worker.pool import prefetch
from celeriac.worker.pool.lean_events import LeanEvents
from celeriac.worker.pool.pool_slots import PoolSlots
from celeriac.worker.pool.request_of_job import request_of

if TYPE_CHECKING:
    from celeriac.worker.gate.lean_exchange import LeanExchange
    from celeriac.worker.gate.ledger_thread import LedgerThread

logger = logging.getLogger(__name__)

#: Celery's loggers of what is received, and of what it says of an attempt at DEBUG.
_RECEIVED, _DEBUGGED = logging.getLogger("celery.worker.strategy"), logging.getLogger("celery.worker.request")


class LeanRequests:
    """In the event loop's thread.

    Args:
        consumer: Celery's consumer, with its pool, its buckets and its events.
        exchange: claims and completes jobs in the event loop; None: the ledger thread does.
        hand_over: gives a message to Celery; whatever Celery refuses has an outcome by then.
        winners: gives deliveries that were won to the pool, or to Celery.
        worker: the id of this start of the worker.
        count: takes how many jobs were completed in the lane.
    """

    def __init__(
        self,
        consumer: Any,
        *,
        slots: PoolSlots,
        ledger: LedgerThread,
        exchange: LeanExchange | None,
        hand_over: Callable[[Any], None],
        winners: Callable[[Sequence[Any]], None],
        worker: UUID,
        count: Callable[[int], None],
    ) -> None:
        self._count = count
        self._told = False  # whether it has said why the lane is closed
        self._beside = 0  # messages that are held for coroutines
        self._consumer = consumer
        self._tasks = consumer.app.tasks
        self._events = LeanEvents(consumer)
        self._slots = slots
        self._ledger = ledger
        self._exchange = exchange
        self._hand_over = hand_over
        self._winners = winners
        self._worker = worker
        self.worker = str(worker)
        self.hostname: str = consumer.hostname
        self.execute = slots.execute
        self.lane = LeanLane(
            consumer.strategies,
            self._tasks,
            buckets=consumer.task_buckets,
            is_open=self._is_open,
            receive=ledger.receive_all if exchange is None else exchange.receive,
        )
        if exchange is not None:
            exchange.serve(self)

    def serve(self, channel: Any) -> None:
        """Have what is drawn on this channel of the broker take the lane, where the pool has one."""
        if hasattr(self._consumer.pool, "line_up_lean"):
            self._consumer.pool.lean = self
            channel.lean_lane = self.lane
            if not self._told and (reasons := self._closed_by()):
                logger.info(Event.LANE_CLOSED, {"reasons": ", ".join(reasons)})
            self._told = True

    def watch(self, hub: Any) -> None:
        """Have the event loop watch what answers to the lane."""
        if self._exchange is not None:
            self._exchange.watch(hub)

    def look(self) -> None:
        """Called again and again."""
        if self._exchange is not None:
            self._exchange.look()
        qos = self._consumer.qos
        before, self._beside = self._beside, self._ledger.beside()
        if qos is not None and (self._ledger.prefetch() > 2 * qos.value or self._beside != before):
            prefetch.adapt(self._consumer)  # jobs turn out to be short: the keeper looks in a moment

    def stop(self, *, within: float) -> None:
        """Have the ledger thread claim and record everything from now on."""
        if self._exchange is not None:
            self._exchange.stop(within=within)

    @property
    def is_watched(self) -> bool:
        """Whether somebody watches events of jobs, as Flower does."""
        return tells_of_jobs(self._consumer.event_dispatcher)

    def _is_open(self) -> bool:
        return not self._closed_by()

    def _closed_by(self) -> list[str]:
        """Who wants to see each job on its way, so that none takes the lane."""
        consumer = self._consumer
        found = {
            "a receiver of task_received": bool(signals.task_received.receivers),
            "the autoscaler": getattr(consumer.controller, "autoscaler", None) is not None,
            "signed messages": consumer.app.settings.signs,
            "logs at DEBUG": _DEBUGGED.isEnabledFor(logging.DEBUG),
        }
        return [reason for reason, wants in found.items() if wants]

    def won(self, job: LeanJob) -> Any:
        """Line up a job that was won, or return its message, for Celery's way."""
        if not job.is_plain:
            self.lane.leave(job)
            return job.as_message(self._worker)
        state.revoked.discard(job.id)  # cancelled once, and replayed since
        if _RECEIVED.isEnabledFor(logging.INFO):
            shown = job.headers
            fields = {
                "id": job.id,
                "name": shown.get("shadow") or job.task,
                "args": shown.get("argsrepr", ""),
                "kwargs": shown.get("kwargsrepr", ""),
                "eta": None,
            }
            _RECEIVED.info(trace.LOG_RECEIVED, fields, extra={"data": fields})
        if self.is_watched:
            self._events.received(job)
        self._consumer.pool.line_up_lean(job)
        return None

    # ---- Celery's requests

    def request_for(self, job: LeanJob) -> Any:
        """Celery's request of a job that was won, made now if there is none; None: Celery refused it."""
        if job.request is None:
            self.lane.leave(job)
            buckets, silent = self._consumer.task_buckets, _RECEIVED.disabled
            bucket, buckets[job.task] = buckets.get(job.task), None  # a limit that was set since is not its
            _RECEIVED.disabled = True  # it has said so
            try:
                with self._slots.catching() as caught, self._events.silenced():
                    self._hand_over(job.as_message(self._worker))
            finally:
                _RECEIVED.disabled = silent
                buckets[job.task] = bucket
            job.request = caught[0] if caught else None
        return job.request

    def request_of(self, job: UUID) -> Any:
        """Celery's request of any job that it was given, or would have been."""
        lean = self.lane.find(job)
        if lean is not None and lean.claimed is not None:
            self._consumer.pool.show(lean)
        return request_of(job)

    def show_all(self) -> None:
        """Make the requests of all jobs, for commands that look at Celery's sets of them."""
        for job in self.lane.jobs():
            if job.claimed is not None:
                self._consumer.pool.show(job)

    # ---- outcomes

    def completed(self, ended: Sequence[tuple[LeanJob, float]]) -> None:
        """Report attempts that were completed, with the seconds that each took."""
        tally = Counter(job.shown_task for job, _ in ended)
        state.total_count.update(tally)
        state.all_total_count[0] += len(ended)
        self._count(len(ended))
        for job, _ in ended:
            self.lane.leave(job)
        self._ledger.completed(ended)
        if self.is_watched:
            for job, seconds in ended:
                self._events.succeeded(job, seconds)
        exchange = self._exchange
        if exchange is None or not exchange.is_open:
            self.report(ended)
            return
        # The ledger thread asks the store for what a child has stored, and hands permits on.
        more: list[tuple[LeanJob, float]] = []
        others: list[tuple[LeanJob, float]] = []
        for one in ended:
            (more if one[0].permits or self._wants_result(one[0]) else others).append(one)
        if more:
            self.report(more)
        if others:
            exchange.complete(others)

    def report(self, ended: Sequence[tuple[LeanJob, float]]) -> None:
        """Have the ledger thread record attempts that were completed."""
        self._ledger.report_completed([self._report(job, seconds) for job, seconds in ended])

    def winners(self, jobs: Sequence[LeanJob]) -> None:
        """Give jobs that were won to the pool."""
        self._winners(jobs)

    def _wants_result(self, job: LeanJob) -> bool:
        """Whether its result is kept, and in the result store by now."""
        if job.carried is not None:
            return False
        ignored = job.headers.get("ignore_result")
        return not (self._tasks[job.task].ignore_result if ignored is None else ignored)

    def _report(self, job: LeanJob, seconds: float) -> AttemptReport:
        carried, wants = job.carried, self._wants_result(job)
        result = None if carried is None else carried.value
        return AttemptReport(
            outcome=Outcome(id=job.job, attempt=job.attempt, state=JobState.COMPLETED, result=result),
            carried=carried,
            wants_result=wants,
            returned=wants,
            task_id=job.id,
            task=job.shown_task,
            run_seconds=seconds,
            permits=job.permits,
        )
