"""The gate: a subclass of Celery's consumer that hands Celery only the deliveries that were won.

Rate limits, events, expiry and logs then only see jobs that this worker holds.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.utils.functional import noop
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer

from celeriac import __version__
from celeriac.broker import signing
from celeriac.errors import BadArgument
from celeriac.events import Event
from celeriac.headers import STAMP
from celeriac.ids import parse_row_id
from celeriac.ledger import revision_check
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import schedule_rows
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.observe import probes
from celeriac.observe.probes import ProbeServer
from celeriac.settings.conf import Stage
from celeriac.task import failures
from celeriac.worker.assembly import ConsumerView, assemble
from celeriac.worker.gate.lean_job import LeanJob
from celeriac.worker.pool import prefork, timers
from celeriac.worker.pool.batch_strategy import Batches
from celeriac.worker.pool.lean_requests import LeanRequests
from celeriac.worker.pool.loop_waker import LoopWaker
from celeriac.worker.pool.pool_slots import PoolSlots, forget
from celeriac.worker.pool.rate_limits import Rates
from celeriac.worker.pool.reconnect import Pace, pass_time

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Seconds that a shutdown waits for the ledger; other workers rescue what is not written by then.
_PATIENCE = 10.0

_NEXT_TURN = 0.0005  # seconds; the shortest timer with which the loop does not sleep until an event

#: After so many damaged messages of a job, its row counts as damaged.
_COPIES = 3


class Consumer(CeleryConsumer):
    app: Celeriac

    _waker: LoopWaker | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app.check_configuration()  # with what receivers wrote to ``conf`` and was refused
        self.app.stage = Stage.RUNS
        slots = PoolSlots(self, self.refuse_request)
        self.on_task_request = slots.take
        self.batches = Batches(self)
        self._hand_over: Callable[[Any], Any] | None = None
        self._ended_by: str | None = None  # the exception that ended the event loop
        self._reconnecting = False
        self._stopping = False
        self._won: deque[Any] = deque()  # on their way from the ledger thread to the pool
        self._waker = LoopWaker.for_hub(self.hub)
        self._solo = type(self.pool).__module__.endswith(".solo")
        self._rates = Rates()
        self._pace = Pace()
        self._probes: ProbeServer | None = None
        self.parts = assemble(self.app, self._view(), solo=self._solo)
        self.ledger = self.app.ledger_thread = self.parts.ledger
        self.lean = LeanRequests(
            self,
            slots=slots,
            ledger=self.ledger,
            exchange=self.parts.exchange,
            hand_over=self._into_celery,
            winners=self._into_the_pool,
            worker=self.parts.worker,
            count=self.parts.meter.lean.inc,
        )

    def _view(self) -> ConsumerView:
        return ConsumerView(
            consumer=self,
            hostname=self.hostname,
            tasks=lambda: self.strategies,
            queues=self._queues,
            concurrency=self.concurrency,
            describe=self._describe,
            hand_over=self._winners,
            drop=self._dropped,
            in_event_loop=self.call_soon,
            request_of=lambda job: self.lean.request_of(job),
        )

    # ---- life

    def start(self) -> None:
        """Sign on, then run. The pool has forked by now: threads and connections may be made."""
        self._require_tables()
        self._settle_queues()
        self.parts.heartbeat.sign_on()
        self.ledger.start()
        self.parts.results.start()
        self.parts.keeper.start()
        if self.hub:
            self.hub.timer.call_repeatedly(timers.EVERY, timers.forget_cancelled, (self.hub.timer,))
        self.timer.call_repeatedly(1.0, self.parts.liveness.loop_turned)
        self.parts.liveness.start()
        self._probes = probes.serve(self.app.settings, self.parts.liveness, meter=self.parts.meter.registry)
        try:
            super().start()
        except Exception as exc:  # raised again; shutdown() must know that the worker did not end by itself
            failure = failures.failure_of(exc)
            self._ended_by = f"{failure.exception_type}: {failure.exception}"
            raise

    def _require_tables(self) -> None:
        if not revision_check.is_current(self.app.database):
            from celeriac.ledger import migrate  # and with it Alembic, which is large and slow

            if (newer := migrate.require(self.app.database)) is not None:
                logger.warning(Event.LEDGER_IS_NEWER, {"revision": newer, "wanted": migrate.wanted()})

    def shutdown(self) -> None:
        """The pool has ended: write every outcome, release what is left, sign off."""
        self.parts.keeper.stop(within=_PATIENCE)
        self.lean.stop(within=_PATIENCE / 5)
        if not self.ledger.close(within=_PATIENCE, ended_by=self._ended_by):
            logger.error(Event.LEFT_BEHIND)
        self.parts.results.stop(within=_PATIENCE / 5)
        if self._probes is not None:
            self._probes.stop()
        self.parts.liveness.stop()
        self.app.stage = Stage.NONE
        super().shutdown()
        if self._waker is not None:
            self._waker.close()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Called by Celery when it begins to draw: the broker is connected and answers."""
        self.app.broker_state.worked()  # or the dispatcher would not send for some seconds more
        self.parts.keeper.poke()
        if self._waker is not None:
            self._waker.watch(self.hub)
        prefork.watch_again(getattr(self.pool, "_pool", None))  # the loop registers the pool next
        self._hand_over = super().create_task_handler(*args, **kwargs)
        self.lean.serve(self.task_consumer.channel)
        return self.ledger.receive

    def call_soon(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """As Celery's; and the loop does not sleep until then."""
        promise = super().call_soon(p, *args, **kwargs)
        if self._waker is not None:
            self._waker.wake()
        return promise

    # ---- deliveries that were won

    def _winners(self, messages: Sequence[Any]) -> None:
        if self.hub:
            self._won.extend(messages)
            self.call_soon(self._take_winners)  # call_soon does not keep the order of calls
        else:
            self._into_the_pool(messages)

    def _take_winners(self) -> None:
        self._into_the_pool([self._won.popleft() for _ in range(len(self._won))])

    def _dropped(self, messages: Sequence[Any]) -> None:
        for message in messages:
            if isinstance(message, LeanJob):
                self.lean.lane.leave(message)
            else:
                message.ack()
        if self.hub:  # wakes the loop, which would not notice otherwise that it may draw again
            self.call_soon(noop)

    def _into_the_pool(self, messages: Iterable[Any]) -> None:
        for message in messages:
            if self._stopping:
                return  # won while the worker began to stop: released at its end
            rest = self.lean.won(message) if isinstance(message, LeanJob) else message
            if rest is not None:
                self._into_celery(rest)
        if self._solo and self.hub:  # the jobs have run; the loop counts their acknowledgements when it wakes
            self.hub.call_later(_NEXT_TURN, noop)

    def _into_celery(self, message: Any) -> None:
        """Give Celery a message that was won; what it refuses becomes a dead letter."""
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

    def _gives_back(self, message: Any) -> bool:
        """Give the job back to the ledger if its task's rate limit makes it wait for long; return whether."""
        bucket = self.task_buckets.get(message.headers["task"])
        if bucket is None or self.disable_rate_limits:
            return False
        job, attempt = parse_row_id(message.headers["id"]), message.headers[STAMP]["attempt"]
        wait = self._rates.wait(message.headers["task"], bucket, now=time.monotonic())
        if wait:
            message.ack()
            self.ledger.report(Outcome(id=job, attempt=attempt, state=JobState.PENDING, delay=wait))
        else:
            self.ledger.set_rate_limited(job, True)
        return bool(wait)

    def _limit_move_to_pool(self, request: Any) -> None:
        self.ledger.set_rate_limited(request.job, False)
        super()._limit_move_to_pool(request)

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        if isinstance(message.headers, dict) and STAMP in message.headers:
            self._invalid(message, exc)
            return
        message.ack()  # a remote control command; nobody waits for it
        logger.warning(Event.COMMAND_REFUSED, {"error": exc})

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        self._invalid(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._invalid(message, ValueError("not a task message"))

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        self._invalid(message, exc)

    def refuse_request(self, request: Any, exc: Exception) -> None:
        """Make a dead letter of a job that was won and that the pool cannot be given."""
        self._invalid(request.message, exc)

    def _invalid(self, message: Any, exc: BaseException) -> None:
        """Make a dead letter of a job that was won and that Celery cannot take."""
        if not message.acknowledged:
            message.ack()
        stamp = message.headers.get(STAMP)
        if not isinstance(stamp, dict) or "attempt" not in stamp:
            return
        found = failures.failure_of(exc, kind=AttemptKind.INVALID)
        failure = Failure(AttemptKind.INVALID, found.exception_type, found.exception)
        job = parse_row_id(message.headers["id"])
        if 0 <= stamp.get("dispatch", -1) <= _COPIES:
            # This copy is damaged. The dispatcher sends the row's own message again, which may be good.
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
        """As Celery's, but serve the pool while the broker is away, where Celery would sleep."""
        conn.wait = lambda seconds: pass_time(self, seconds)
        return super().ensure_connected(conn)

    def on_close(self) -> None:
        """The connection was lost, or the worker stops.

        Celery drops here the jobs that it has not begun, because its broker delivers them again. Our
        transport does not, and a lost connection changes nothing for jobs that were won: they are kept.
        """
        lost, self._reconnecting = self._reconnecting, False
        pool = getattr(self.pool, "_pool", None)
        if lost:
            self._pace.lost(time.monotonic())
            prefork.finish_writes(pool)
            return
        self._stopping = True
        self.ledger.stop_claiming()
        self.lean.stop(within=_PATIENCE / 5)
        if self.controller and self.controller.semaphore:
            self.controller.semaphore.clear()
        for bucket in self.task_buckets.values():
            if bucket:
                bucket.clear_pending()
        prefork.finish_writes(pool)
        prefork.drop_unwritten(pool)
        if stop_line := getattr(self.pool, "stop_line", None):  # burst
            stop_line()

    @property
    def stopping(self) -> bool:
        """Whether nothing is begun any more."""
        return self._stopping

    # ---- queues

    def _settle_queues(self) -> None:
        """Without -Q, draw from the lanes that schedules of the ledger name, too."""
        queues = self.app.amqp.queues
        with self.app.database.reading() as connection:
            scheduled = schedule_rows.queues(connection)
        for name in scheduled:
            with suppress(BadArgument):  # an older version took it; the beat says so at each fire
                queues.declare(name)
        queues.settle()

    def add_task_queue(
        self,
        queue: str,
        exchange: Any = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> None:
        """As Celery's, for all lists of a lane or for one level of it."""
        queues = self.app.amqp.queues
        try:
            if exchange_type not in (None, "direct"):
                raise BadArgument("exchange_type", f"wanted direct, found {exchange_type!r}")
            queues.select_add(queue)
        except BadArgument as exc:  # a command from outside must not end the worker
            logger.error(Event.QUEUE_REFUSED, {"error": exc})
            return
        for each in queues.lists(queue):
            if not self.task_consumer.consuming_from(each):
                self.task_consumer.add_queue(queues[each])
        self.task_consumer.consume()
        logger.info(Event.QUEUE_ADDED, {"queue": queue})

    def cancel_task_queue(self, queue: str) -> None:
        """As Celery's, for all lists of a lane or for one level of it."""
        queues = self.app.amqp.queues
        queues.deselect(queue)
        for each in queues.lists(queue):
            self.task_consumer.cancel_by_queue(each)
        logger.info(Event.QUEUE_CANCELLED, {"queue": queue})

    # ---- facts

    def _queues(self) -> list[str]:
        """The lists that it draws from; also those without a level, which rows of old may name."""
        queues = self.app.amqp.queues
        lists = list(queues.consume_from)
        return queues.lanes.with_bare(lists) if self.app.settings.adopt_foreign else lists

    def concurrency(self) -> int:
        """How many jobs the pool runs at once, or may run: Celery's autoscaler grows it by its load."""
        scaler = getattr(self.controller, "autoscaler", None)
        grown = scaler.max_concurrency if scaler and hasattr(self.pool, "grow") else 0
        return max(1, grown, int(getattr(self.pool, "num_processes", None) or 1))

    def _describe(self, worker: UUID) -> WorkerStart:
        names = sorted(self.app.tasks)
        return WorkerStart(
            id=worker,
            hostname=self.hostname,
            pid=os.getpid(),
            pool=getattr(self.pool, "alias", type(self.pool).__module__.rpartition(".")[2]),
            concurrency=self.concurrency(),
            queues=self._queues(),
            tasks=hashlib.sha256("\n".join(names).encode()).hexdigest(),
            version=__version__,
            code_version=self.app.settings.code_version,
            names=names,
        )
