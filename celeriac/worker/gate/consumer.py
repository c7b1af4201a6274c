"""The gate: Celery's consumer, which hands Celery only the deliveries that were won.

So rate limits, events, expiry and logs only ever see jobs that this worker holds.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
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
from celeriac.ledger import migrate
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
from celeriac.worker.duties.collector import Collector
from celeriac.worker.duties.dispatcher import Dispatcher
from celeriac.worker.duties.keeper import Duty, Keeper
from celeriac.worker.duties.lost_message_finder import GRACE, LostMessageFinder
from celeriac.worker.duties.reconciler import Reconciler
from celeriac.worker.duties.rescuer import Rescuer
from celeriac.worker.duties.workflows import Workflows
from celeriac.worker.gate import prefetch, prefork, timers
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.ledger_thread import LedgerThread
from celeriac.worker.gate.places import Places, forget
from celeriac.worker.gate.rate_limits import Rates
from celeriac.worker.gate.reconnect import Pace, pass_time
from celeriac.worker.gate.turn import Turn, TurnCallbacks
from celeriac.worker.watermarks import Watermarks

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Seconds that a shutdown waits for the ledger; what is not written then is rescued by others.
_PATIENCE = 10.0

#: Share of the silence after which a worker is dead that it waits for an answer of the database.
_SHARE = 0.6

_NEXT_TURN = 0.0005  # seconds; nothing sooner keeps the loop from sleeping until something happens

#: So many messages of a job may turn out damaged before its row is held to be.
_COPIES = 3


class Consumer(CeleryConsumer):
    app: Celeriac

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_task_request = Places(self, self._refused).take
        self._hand_over: Callable[[Any], Any] | None = None
        self._ended_by: str | None = None  # the exception that ended the event loop
        self._reconnecting = False
        self._stopping = False
        self._told_trouble: str | None = None
        self._won: deque[Any] = deque()  # on their way from the ledger thread to the pool
        self._worker_id = UUID(new_id())
        self._solo = type(self.pool).__module__.endswith(".solo")
        app, settings = self.app, self.app.settings
        app.database.longest = settings.worker_timeout * _SHARE
        watermarks = Watermarks(GRACE)
        self._book = ClaimBook()
        self._rates = Rates()
        self._pace = Pace()
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
            concurrency=self.concurrency,
            pool_queues=lambda: not self.pool.is_green,
        )
        app.ledger_thread = self.ledger
        self.pulse = Pulse(
            "worker",
            settings,
            connected=lambda: self.connection is not None,
            busy=self._solo,
            trouble=self.ledger.trouble,
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
        self.collector = Collector(
            app.database,
            tasks=lambda: self.strategies,
            queues=self._queues,
            room=self.ledger.spare,
            receive=self.ledger.receive,
        )
        meter.watch("held", "jobs that it has claimed", self._book.unfinished)
        meter.watch("prefetch", "messages that it holds at most", lambda: self.qos.value if self.qos else 0)
        self._reconcile = Duty("reconcile", self.reconciler.compare, 5.0)
        self.keeper = Keeper(
            [Duty("heartbeat", self._beat, settings.heartbeat)],
            [Duty("workflows", Workflows(app.database, on_change=self._poke).sweep, 1.0)],
            [
                Duty("dispatch", self.dispatcher.run, 1.0, on_poke=True),
                Duty("collect", self.collector.run, 1.0),
                Duty("cancel", self.canceller.pass_on, 1.0),
                Duty("rescue", self.rescuer.rescue_dead, 1.0),
                self._reconcile,
                Duty("strands", self.lost_messages_finder.sweep, 2.0),
                Duty("prefetch", lambda: prefetch.adapt(self), prefetch.EVERY),
                Duty("presence", self._be_seen, 10.0),
                Duty("trouble", self._tell_trouble, settings.heartbeat),
            ],
            longest_rest=settings.worker_timeout / 4,
        )

    # ---- life

    def start(self) -> None:
        """Sign on, then run. The pool has forked by now: threads and connections may be made."""
        if (newer := migrate.require(self.app.database)) is not None:
            logger.warning(Event.LEDGER_IS_NEWER, {"revision": newer, "wanted": migrate.wanted()})
        with self.app.database.transaction() as connection:
            worker_rows.sign_on(connection, self._card())
        self.ledger.start()
        self.keeper.start()
        if self.hub:
            self.hub.timer.call_repeatedly(timers.EVERY, timers.forget_cancelled, (self.hub.timer,))
        self.timer.call_repeatedly(1.0, self.pulse.turned)
        self.pulse.start()
        self._probes = probes.serve(self.app.settings, self.pulse, meter=self._meter.registry)
        try:
            super().start()
        except Exception as exc:
            reports = failures.failure_of(exc)
            self._ended_by = f"{reports.exception_type}: {reports.exception}"
            raise

    def shutdown(self) -> None:
        """The pool has ended: write every outcome, release what is left, sign off."""
        self.keeper.stop(within=_PATIENCE)
        if not self.ledger.close(within=_PATIENCE, ended_by=self._ended_by):
            logger.error(Event.LEFT_BEHIND)
        if self._probes is not None:
            self._probes.stop()
        self.pulse.stop()
        super().shutdown()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Celery asks for it when it begins to draw: the broker is there, and took what was said to it."""
        self.app.broker_state.worked()  # or the dispatcher would leave it alone for some seconds more
        self._poke()
        prefork.watch_again(getattr(self.pool, "_pool", None))  # the loop takes the pool in next
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
                if not self._gives_back(message):
                    self._hand_over(message)
            except Exception as exc:  # a delivery must never end a worker
                if request := state.requests.get(message.headers.get("id")):
                    forget(self.pool, request)
                self._invalid(message, exc)
        if self._solo and self.hub:  # they have run; what they acknowledged counts in the loop's next turn
            self.hub.call_later(_NEXT_TURN, noop)

    def _gives_back(self, message: Any) -> bool:
        """Whether the job goes back to the ledger until its task's rate limit lets it begin soon."""
        bucket = self.task_buckets.get(message.headers["task"])
        if bucket is None or self.disable_rate_limits:
            return False
        job, attempt = UUID(message.headers["id"]), message.headers[STAMP]["attempt"]
        wait = self._rates.wait(message.headers["task"], bucket, now=time.monotonic())
        if wait:
            message.ack()
            self.ledger.report(Outcome(id=job, attempt=attempt, state=JobState.PENDING, delay=wait))
        else:
            self.ledger.limited(job, True)
        return bool(wait)

    def _limit_move_to_pool(self, request: Any) -> None:
        self.ledger.limited(request.job, False)
        super()._limit_move_to_pool(request)

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

    def _refused(self, request: Any, exc: Exception) -> None:
        self._invalid(request.message, exc)

    def _invalid(self, message: Any, exc: BaseException) -> None:
        """A job was won that Celery cannot take: it is a dead letter, with what was wrong."""
        if not message.acknowledged:
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

    def connect(self) -> Any:
        pass_time(self, self._pace.pause())
        connection = super().connect()
        self._pace.connected(time.monotonic())
        return connection

    def ensure_connected(self, conn: Any) -> Any:
        """As Celery's, which sleeps while the broker is away: jobs that run need the pool to be served."""
        conn.wait = lambda seconds: pass_time(self, seconds)
        return super().ensure_connected(conn)

    def on_close(self) -> None:
        """The connection was lost, or the worker stops.

        Celery forgets here what it has not begun, since its broker delivers that again. Ours
        does not, and need not: a lost connection changes nothing for what was won.
        """
        lost, self._reconnecting = self._reconnecting, False
        pool = getattr(self.pool, "_pool", None)
        if lost:
            self._pace.lost(time.monotonic())
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
                worker_rows.sign_on(connection, self._card())
        if not known:
            logger.warning(Event.DECLARED_DEAD)
            self._reconcile.due = 0.0  # in the keeper's own time: the heart does nothing else
            self._poke()
        self.rescuer.beat_written()
        self.pulse.asked_ledger()

    def _tell_trouble(self) -> None:
        """Tell the others why outcomes cannot be written here, for whoever looks from elsewhere."""
        trouble = self.ledger.trouble()
        if (trouble is None) != (self._told_trouble is None):
            with self.app.database.statement() as connection:
                worker_rows.tell_trouble(connection, self._worker_id, trouble)
            self._told_trouble = trouble

    def _be_seen(self) -> None:
        """Let doctor see whose workers draw from this broker."""
        try:
            if not self.app.broker_state.resting:
                with self.app.connection_or_acquire() as connection:
                    presence.leave(connection.default_channel.client, self._worker_id, self.hostname)
        except self.app.broker_errors:
            return  # it is away, or an ACL does not allow it: nobody needs this but doctor

    # ---- facts

    def _queues(self) -> list[str]:
        return list(self.app.amqp.queues.consume_from)

    def concurrency(self) -> int:
        """How many jobs the pool runs at once, or would: Celery's autoscaler looks at what it was given."""
        scaler = getattr(self.controller, "autoscaler", None)
        grown = scaler.max_concurrency if scaler and hasattr(self.pool, "grow") else 0
        return max(1, grown, int(getattr(self.pool, "num_processes", None) or 1))

    def _card(self) -> WorkerStart:
        names = sorted(self.app.tasks)
        return WorkerStart(
            id=self._worker_id,
            hostname=self.hostname,
            pid=os.getpid(),
            pool=type(self.pool).__module__.rpartition(".")[2],
            concurrency=self.concurrency(),
            queues=self._queues(),
            tasks=hashlib.sha256("\n".join(names).encode()).hexdigest(),
            version=__version__,
            names=names,
        )
