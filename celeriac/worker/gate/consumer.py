"""The gate: Celery's consumer, which hands Celery only the deliveries that were won.

So rate limits, events, expiry and logs only ever see jobs that this worker holds.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.utils.functional import noop
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer

from celeriac import __version__
from celeriac.broker import signing
from celeriac.broker.wire import STAMP
from celeriac.events import Event
from celeriac.ids import new_id
from celeriac.ledger.migrate import require_head
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.observe import presence, probes
from celeriac.observe.liveness import Pulse
from celeriac.observe.probes import ProbeServer
from celeriac.task import failures
from celeriac.worker.counters import Meter
from celeriac.worker.duties.canceller import Canceller
from celeriac.worker.duties.dispatcher import Dispatcher
from celeriac.worker.duties.keeper import Duty, Keeper
from celeriac.worker.duties.lost_message_finder import GRACE, LostMessageFinder
from celeriac.worker.duties.reconciler import Reconciler
from celeriac.worker.duties.rescuer import Rescuer
from celeriac.worker.duties.workflows import Workflows
from celeriac.worker.gate import prefork, timers
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.ledger_thread import LedgerThread
from celeriac.worker.gate.turn import Turn, TurnCallbacks
from celeriac.worker.watermarks import Watermarks

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Seconds that a shutdown waits for the ledger; what is not written then is rescued by others.
_PATIENCE = 10.0

_NEXT_TURN = 0.0005  # seconds; nothing sooner keeps the loop from sleeping until something happens

_ADAPT = 0.2  # seconds between two looks at how many messages to hold

#: So many messages of a job may turn out damaged before its row is held to be.
_COPIES = 3


class Consumer(CeleryConsumer):
    app: Celeriac

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hand_over: Callable[[Any], Any] | None = None
        self._reconnecting = False
        self._stopping = False
        self._won: deque[Any] = deque()  # on their way from the ledger thread to the pool
        self._worker_id = UUID(new_id())
        self._solo = type(self.pool).__module__.endswith(".solo")
        app, settings = self.app, self.app.settings
        watermarks = Watermarks(GRACE)
        self._book = ClaimBook()
        self._meter = meter = Meter()
        turn = Turn(
            app.database.by_key(),
            worker=self._worker_id,
            book=self._book,
            tasks=self.strategies,
            max_tries=settings.max_tries,
            watermarks=watermarks,
            callbacks=TurnCallbacks(
                hand_over=self._winners,
                drop=self._dropped,
                fetch_results=app.backend.stored_results,
                on_change=self._poke,
            ),
            meter=meter,
            signs=settings.signs,
        )
        self.ledger = LedgerThread(
            turn,
            book=self._book,
            concurrency=self._concurrency,
            pool_queues=lambda: not self.pool.is_green,
        )
        app.ledger_thread = self.ledger
        self.pulse = Pulse(
            "worker",
            settings,
            connected=lambda: self.connection is not None,
            busy=self._solo,
        )
        self._probes: ProbeServer | None = None
        self.dispatcher = Dispatcher(app, app.database, meter=meter)
        self.lost_messages_finder = LostMessageFinder(
            app, app.database, watermarks, queues=self._queues, on_change=self._poke, meter=meter
        )
        self.rescuer = Rescuer(
            app.database,
            worker=self._worker_id,
            silence=settings.worker_timeout,
            stored_results=app.backend.stored_results,
            on_change=self._poke,
            meter=meter,
        )
        self.reconciler = Reconciler(
            app.database,
            worker=self._worker_id,
            book=self._book,
            release_unknown=self.ledger.release_unknown,
            pool=lambda: self.pool,
            in_event_loop=self._soon,
        )
        self.canceller = Canceller(
            app.database, worker=self._worker_id, pool=lambda: self.pool, in_event_loop=self._soon
        )
        meter.watch("held", "jobs that it has claimed", self._book.unfinished)
        meter.watch("prefetch", "messages that it holds at most", lambda: self.qos.value if self.qos else 0)
        self.keeper = Keeper(
            [
                Duty("heartbeat", self._beat, settings.heartbeat),
                Duty("dispatch", self.dispatcher.run, 1.0, on_poke=True),
                Duty("cancel", self.canceller.pass_on, 1.0),
                Duty("rescue", self.rescuer.rescue_dead, 1.0),
                Duty("reconcile", self.reconciler.compare, 5.0),
                Duty("workflows", Workflows(app.database, on_change=self._poke).sweep, 1.0),
                Duty("strands", self.lost_messages_finder.sweep, 2.0),
                Duty("presence", self._be_seen, 10.0),
                Duty("prefetch", self._adapt_prefetch, _ADAPT),
            ],
            longest_rest=settings.worker_timeout / 4,
        )

    # ---- life

    def start(self) -> None:
        """Sign on, then run. The pool has forked by now: threads and connections may be made."""
        require_head(self.app.database)
        with self.app.database.transaction() as connection:
            worker_rows.sign_on(connection, self._card())
        self.ledger.start()
        self.keeper.start()
        if self.hub:
            self.hub.timer.call_repeatedly(timers.EVERY, timers.forget_cancelled, (self.hub.timer,))
        self.timer.call_repeatedly(1.0, self.pulse.turned)
        self.pulse.start()
        self._probes = probes.serve(self.app.settings, self.pulse, meter=self._meter.registry)
        super().start()

    def shutdown(self) -> None:
        """The pool has ended: write every outcome, release what is left, sign off."""
        self.keeper.stop(within=_PATIENCE)
        if not self.ledger.close(within=_PATIENCE):
            logger.error(Event.LEFT_BEHIND)
        if self._probes is not None:
            self._probes.stop()
        self.pulse.stop()
        super().shutdown()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        self._hand_over = super().create_task_handler(*args, **kwargs)
        return self.ledger.receive

    # ---- deliveries that were won

    def _winners(self, messages: Sequence[Any]) -> None:
        if self.hub:
            self._won.extend(messages)
            self.hub.call_soon(self._take_winners)  # which keeps no order among the calls that it is given
        else:
            self._into_the_pool(messages)

    def _take_winners(self) -> None:
        self._into_the_pool([self._won.popleft() for _ in range(len(self._won))])

    def _dropped(self, messages: Sequence[Any]) -> None:
        for message in messages:
            message.ack()
        if self.hub:  # which would otherwise sleep on and not see that there is room again
            self.hub.call_soon(noop)

    def _into_the_pool(self, messages: Iterable[Any]) -> None:
        for message in messages:
            if self._stopping:
                return  # won while the worker began to stop: released at its end
            try:
                assert self._hand_over is not None
                state.revoked.discard(message.headers["id"])  # cancelled once, and replayed since
                if self.app.settings.signs:
                    signing.check(message.body, message.content_type, message.headers)
                self._hand_over(message)
            except Exception as exc:  # a delivery must never end a worker
                self._invalid(message, exc)
        if self._solo and self.hub:  # they have run; what they acknowledged counts in the loop's next turn
            self.hub.call_later(_NEXT_TURN, noop)

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        if isinstance(message.headers, dict) and STAMP in message.headers:
            self._invalid(message, exc)
            return
        message.ack()  # a remote control command, which nobody waits for
        logger.warning(Event.COMMAND_REFUSED, {"error": exc})

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        self._invalid(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._invalid(message, ValueError("not a task message"))

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        self._invalid(message, exc)

    def _invalid(self, message: Any, exc: BaseException) -> None:
        """A job was won that Celery cannot take: it is a dead letter, with what was wrong."""
        message.ack()
        stamp = message.headers.get(STAMP)
        if not isinstance(stamp, dict) or "attempt" not in stamp:
            return
        reports = failures.failure_of(exc, kind=AttemptKind.INVALID)
        failure = Failure(AttemptKind.INVALID, reports.exception_type, reports.exception)
        job = UUID(message.headers["id"])
        if 0 <= stamp.get("dispatch", -1) <= _COPIES:
            # The copy is damaged; the row's own message, which the dispatcher sends, may be good.
            self.ledger.report(Outcome(id=job, attempt=stamp["attempt"], state=JobState.PENDING))
            return
        fields = {"job": job, "attempt": stamp["attempt"], "error": failure.line}
        logger.error(Event.INVALID_JOB, fields)
        self.ledger.report(Outcome(id=job, attempt=stamp["attempt"], state=JobState.FAILED, failure=failure))

    # ---- connection lost, shutdown

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        self._reconnecting = True
        super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        self._reconnecting = True
        super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """The connection was lost, or the worker stops.

        Celery forgets here what it has not begun, since its broker delivers that again. Ours
        does not, and need not: a lost connection changes nothing for what was won.
        """
        lost, self._reconnecting = self._reconnecting, False
        pool = getattr(self.pool, "_pool", None)
        if lost:
            prefork.finish_writes(pool)
            return
        self._stopping = True
        self.ledger.stop_claiming()
        if self.controller and self.controller.semaphore:
            self.controller.semaphore.clear()
        for bucket in self.task_buckets.values():
            if bucket:
                bucket.clear_pending()
        prefork.finish_writes(pool)
        prefork.drop_unwritten(pool)

    # ---- the keeper's needs

    def _poke(self) -> None:
        self.keeper.poke()

    def _soon(self, call: Callable[[], Any]) -> None:
        self.call_soon(call)

    def _beat(self) -> None:
        with self.app.database.statement() as connection:
            known = worker_rows.beat(connection, self._worker_id)
        if not known:
            logger.warning(Event.DECLARED_DEAD)
            self.reconciler.compare()
        self.rescuer.beat_written()
        self.pulse.asked_ledger()

    def _be_seen(self) -> None:
        """Let doctor see whose workers draw from this broker."""
        try:
            if not self.app.broker_state.resting:
                with self.app.connection_or_acquire() as connection:
                    presence.leave(connection.default_channel.client, self._worker_id, self.hostname)
        except self.app.broker_errors:
            return  # it is away, or an ACL does not allow it: nobody needs this but doctor

    def _adapt_prefetch(self) -> None:
        """Hold as many messages as the length of jobs asks for, unless the number is set."""
        # Neither exists before the first connection, and the consumer is away between two of them.
        qos, consumer = getattr(self, "qos", None), getattr(self, "task_consumer", None)
        if qos is None or consumer is None or self.app.settings.prefetch is not None:
            return
        consumer.channel.qos.least = self.ledger.least()
        change = self.ledger.prefetch() - qos.value
        if change > 0:
            qos.increment_eventually(change)
        elif change < 0:
            qos.decrement_eventually(-change)

    # ---- facts

    def _queues(self) -> list[str]:
        return list(self.app.amqp.queues.consume_from)

    def _concurrency(self) -> int:
        return int(getattr(self.pool, "num_processes", None) or 1)

    def _card(self) -> WorkerStart:
        names = "\n".join(sorted(self.app.tasks))
        return WorkerStart(
            id=self._worker_id,
            hostname=self.hostname,
            pid=os.getpid(),
            pool=type(self.pool).__module__.rpartition(".")[2],
            concurrency=self._concurrency(),
            queues=self._queues(),
            tasks=hashlib.sha256(names.encode()).hexdigest(),
            version=__version__,
        )
