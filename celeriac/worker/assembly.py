"""Make the parts of a worker's main process and connect them: the gate, the keeper and its duties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.errors import SettingsError
from celeriac.ids import new_uuid
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes.claims import Message
from celeriac.limits.ageing import Ageing
from celeriac.limits.limit import of_tasks
from celeriac.observe.call_metrics import CallMetrics
from celeriac.observe.liveness import LivenessReporter
from celeriac.worker.ageing import EVERY as AGEING_EVERY
from celeriac.worker.ageing import AgeingDuty
from celeriac.worker.attempt_report import Freed
from celeriac.worker.counters import Meter
from celeriac.worker.days_ahead import EVERY as DAYS_EVERY
from celeriac.worker.days_ahead import DaysAhead
from celeriac.worker.duties import alert_watch, holder
from celeriac.worker.duties.admitter import OTHERS, Admitter
from celeriac.worker.duties.canceller import Canceller
from celeriac.worker.duties.dispatcher import Dispatcher
from celeriac.worker.duties.heartbeat import Heartbeat
from celeriac.worker.duties.keeper import Duty, Keeper
from celeriac.worker.duties.lost_message_finder import GRACE, LostMessageFinder
from celeriac.worker.duties.neighbours import EVERY, Neighbours
from celeriac.worker.duties.reconciler import Reconciler
from celeriac.worker.duties.rescuer import Rescuer
from celeriac.worker.duties.roll_up import EVERY as ROLL_UP_EVERY
from celeriac.worker.duties.roll_up import RollUp
from celeriac.worker.duties.unknown_task_collector import UnknownTaskCollector
from celeriac.worker.duties.workflows import Workflows
from celeriac.worker.followers import EVERY as FOLLOWERS_EVERY
from celeriac.worker.followers import Followers
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.lean_exchange import LeanExchange
from celeriac.worker.gate.ledger_thread import LedgerThread
from celeriac.worker.gate.turn import Turn
from celeriac.worker.gate.turn_callbacks import TurnCallbacks
from celeriac.worker.pauses import Pauses
from celeriac.worker.pool import prefetch
from celeriac.worker.result_writer import ResultWriter
from celeriac.worker.watermarks import Watermarks

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: A worker waits for the database for at most this share of ``worker_timeout``, after which it is dead.
_SHARE = 0.6

#: Duties that the ledger thread pokes by their names.
_ADMIT, _FOLLOWERS = "admit", "followers"


@dataclass(frozen=True, kw_only=True)
class ConsumerView:
    """What the parts need of Celery's consumer.

    Attributes:
        tasks: the tasks that it can run, by name.
        queues: the queues that it draws from.
        concurrency: how many jobs its pool runs at once.
        describe: the worker's row, given its id.
        hand_over: takes the messages of jobs that were won.
        drop: takes the messages of deliveries that do not run.
        in_event_loop: runs something in its event loop.
        request_of: Celery's request of a job that it has; in the event loop only.
    """

    consumer: Any
    hostname: str
    tasks: Callable[[], Any]
    queues: Callable[[], list[str]]
    concurrency: Callable[[], int]
    describe: Callable[[UUID], WorkerStart]
    hand_over: Callable[[Sequence[Any]], None]
    drop: Callable[[Sequence[Any]], None]
    in_event_loop: Callable[[Callable[[], Any]], None]
    request_of: Callable[[UUID], Any]

    def pool(self) -> Any:
        return self.consumer.pool

    def runs_beside(self, task: object) -> bool:
        """Whether jobs of a task are coroutines that run beside what the children of its pool are at."""
        pool = self.pool()
        return hasattr(pool, "runs_beside") and pool.runs_beside(task)

    def places_beside(self) -> int:
        pool = self.pool()
        return pool.places_beside() if hasattr(pool, "places_beside") else 0

    def is_connected(self) -> bool:
        return self.consumer.connection is not None

    def prefetched(self) -> int:
        return self.consumer.qos.value if self.consumer.qos else 0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a worker's main process."""

    worker: UUID
    meter: Meter
    ledger: LedgerThread
    exchange: LeanExchange | None  # None: the ledger thread has all jobs
    results: ResultWriter
    liveness: LivenessReporter
    keeper: Keeper
    heartbeat: Heartbeat


def assemble(app: Celeriac, view: ConsumerView, *, solo: bool) -> Parts:
    """Make the parts of a worker. None of them is started: the pool must fork before threads exist."""
    worker = new_uuid()
    app.database.longest = app.settings.worker_timeout * _SHARE
    neighbours = Neighbours(app, app.database, worker=worker, hostname=view.hostname)
    view = _also_noting(view, neighbours)
    book, meter, watermarks = ClaimBook(view.runs_beside), Meter(), Watermarks(GRACE)
    meter.registry.register(CallMetrics(app))
    pauses = Pauses(app.database)
    poke: list[Keeper] = []  # the keeper, which the other parts poke, is made last

    def on_change(duty: str | None = None) -> None:
        poke[0].poke(duty)

    admitter, followers = _admitter(app, worker), Followers(app.database, on_change=on_change)
    results = ResultWriter(app.backend.store_carried)
    told = _told(app, view, admitter, followers, results, on_change)
    ledger = _ledger_thread(app, view, worker, book, meter, watermarks, pauses, told)
    liveness = LivenessReporter(
        "worker", app.settings, connected=view.is_connected, busy=solo, trouble=ledger.trouble
    )
    rescuer = Rescuer(
        app.database,
        worker=worker,
        silence=app.settings.worker_timeout,
        stored_results=app.backend.stored_results,
        on_change=on_change,
        meter=meter,
    )
    reconcile = _reconcile(app, view, worker, book, ledger)

    heartbeat = _heartbeat(app, view, worker, ledger, rescuer, liveness, reconcile, on_change)
    duties = _duties(app, view, worker, ledger, meter, watermarks, pauses, on_change)
    duties += [Duty("rescue", rescuer.rescue_dead, 1.0), Duty("neighbours", neighbours.look, EVERY)]
    duties += [reconcile, Duty("trouble", heartbeat.write_trouble, app.settings.heartbeat)]
    beats = [Duty("heartbeat", heartbeat.beat, app.settings.heartbeat)]
    admits = [Duty(_ADMIT, admitter.run, OTHERS, on_poke=True)]
    slow = _slow_rounds(app, pauses, followers, on_change)
    rest = app.settings.worker_timeout / 4
    keeper = Keeper(beats, admits, *slow, duties, longest_rest=rest, on_stop=admitter.close)
    poke.append(keeper)
    meter.watch("held", "jobs that it has claimed", lambda: book.unfinished() + book.beside())
    meter.watch("prefetch", "messages that it holds at most", view.prefetched)
    return Parts(
        worker=worker,
        meter=meter,
        ledger=ledger,
        exchange=_exchange(app, view, worker, book, ledger, pauses, meter, watermarks, results),
        results=results,
        liveness=liveness,
        keeper=keeper,
        heartbeat=heartbeat,
    )


def _admitter(app: Celeriac, worker: UUID) -> Admitter:
    """
    Raises:
        SettingsError: two tasks say different things of one limit.
    """
    limits, problems = of_tasks(app.tasks)
    if problems:
        raise SettingsError(problems)
    return Admitter(app, app.database.with_generic_plans(), worker=worker, limits=limits.values())


def _told(
    app: Celeriac,
    view: ConsumerView,
    admitter: Admitter,
    followers: Followers,
    results: ResultWriter,
    on_change: Callable[..., None],
) -> TurnCallbacks:
    """What hears of the turns of the ledger thread."""

    def on_freed(freed: Freed) -> None:
        if admitter.ended(freed):
            on_change(_ADMIT)

    def on_admitted(messages: Sequence[Message]) -> None:
        admitter.admitted(messages)
        on_change(_ADMIT)

    def on_followed(jobs: Sequence[UUID]) -> None:
        followers.ended(jobs)
        on_change(_FOLLOWERS)

    return TurnCallbacks(
        hand_over=view.hand_over,
        drop=view.drop,
        fetch_results=app.backend.stored_results if app.settings.keeps_results else None,
        on_change=on_change,
        on_freed=on_freed,
        on_admitted=on_admitted,
        known_limits=admitter.known_limits,
        on_followed=on_followed,
        store_results=results.put,
        fetch_states=app.backend.stored_states,
    )


def _also_noting(view: ConsumerView, neighbours: Neighbours) -> ConsumerView:
    def drop(messages: Sequence[Any]) -> None:
        neighbours.dropped(messages)
        view.drop(messages)

    return replace(view, drop=drop)


def _ledger_thread(
    app: Celeriac,
    view: ConsumerView,
    worker: UUID,
    book: ClaimBook,
    meter: Meter,
    watermarks: Watermarks,
    pauses: Pauses,
    callbacks: TurnCallbacks,
) -> LedgerThread:
    turn = Turn(
        app.database.with_generic_plans(),
        worker=worker,
        book=book,
        tasks=view.tasks(),
        max_tries=app.settings.max_tries,
        declared=app.tasks,
        watermarks=watermarks,
        callbacks=callbacks,
        meter=meter,
        signs=app.settings.signs,
        pauses=pauses,
    )
    return LedgerThread(
        turn,
        book=book,
        concurrency=view.concurrency,
        pool_queues=lambda: not view.pool().is_green,
        bundles=lambda: hasattr(view.pool(), "line_up_lean"),
        places=view.places_beside,
    )


def _heartbeat(
    app: Celeriac,
    view: ConsumerView,
    worker: UUID,
    ledger: LedgerThread,
    rescuer: Rescuer,
    liveness: LivenessReporter,
    reconcile: Duty,
    on_change: Callable[[], None],
) -> Heartbeat:
    def on_beat() -> None:
        rescuer.beat_written()
        liveness.ledger_answered()

    def on_declared_dead() -> None:
        reconcile.due = 0.0  # done by the keeper's thread, so that the heartbeat's is not held up
        on_change()

    return Heartbeat(
        app.database,
        worker=worker,
        describe=partial(view.describe, worker),
        queues=view.queues,
        trouble=ledger.trouble,
        on_beat=on_beat,
        on_declared_dead=on_declared_dead,
    )


def _exchange(
    app: Celeriac,
    view: ConsumerView,
    worker: UUID,
    book: ClaimBook,
    ledger: LedgerThread,
    pauses: Pauses,
    meter: Meter,
    watermarks: Watermarks,
    results: ResultWriter,
) -> LeanExchange | None:
    """What claims and completes short jobs in the event loop, where pool and database are fit for it."""
    if app.database.dialect != "postgresql" or not hasattr(view.pool(), "line_up_lean"):
        return None
    return LeanExchange(
        app.database.with_generic_plans(),
        worker=worker,
        book=book,
        ledger=ledger,
        pauses=pauses,
        meter=meter,
        watermarks=watermarks,
        drop=view.drop,
        store=results.put,
        in_event_loop=view.in_event_loop,
    )


def _reconcile(
    app: Celeriac, view: ConsumerView, worker: UUID, book: ClaimBook, ledger: LedgerThread
) -> Duty:
    reconciler = Reconciler(
        app.database,
        worker=worker,
        book=book,
        release_unknown=ledger.release_unknown,
        pool=view.pool,
        in_event_loop=view.in_event_loop,
        request_of=view.request_of,
    )
    return Duty("reconcile", reconciler.compare, 5.0)


def _slow_rounds(
    app: Celeriac, pauses: Pauses, followers: Followers, on_change: Callable[[], None]
) -> list[list[Duty]]:
    """Duties that may take long, and so have threads of their own."""
    gives_back = holder.Holder(app.database, pauses, on_change=on_change)
    return [
        [Duty("pauses", gives_back.run, holder.EVERY)],
        [Duty(_FOLLOWERS, followers.run, FOLLOWERS_EVERY, on_poke=True)],
        [
            Duty("workflows", Workflows(app.database, on_change=on_change).sweep, 1.0),
            Duty("roll-up", RollUp(app.database).run, ROLL_UP_EVERY),
        ],
        *([[Duty("days-ahead", DaysAhead(app.database).run, DAYS_EVERY)]] if app.settings.by_day else []),
        *alert_watch.duties(app),
    ]


def _duties(
    app: Celeriac,
    view: ConsumerView,
    worker: UUID,
    ledger: LedgerThread,
    meter: Meter,
    watermarks: Watermarks,
    pauses: Pauses,
    on_change: Callable[[], None],
) -> list[Duty]:
    """The duties that do not depend on each other."""
    dispatcher = Dispatcher(app, app.database, meter=meter, pauses=pauses)
    collector = UnknownTaskCollector(
        app.database,
        tasks=view.tasks,
        queues=view.queues,
        capacity=ledger.delivery_capacity,
        receive=ledger.receive,
    )
    canceller = Canceller(
        app.database,
        worker=worker,
        pool=view.pool,
        in_event_loop=view.in_event_loop,
        request_of=view.request_of,
    )
    finder = LostMessageFinder(
        app, app.database, watermarks, queues=view.queues, on_change=on_change, meter=meter
    )
    return [
        Duty("dispatch", dispatcher.run, 1.0, on_poke=True),
        Duty("collect", collector.run, 1.0),
        Duty("cancel", canceller.pass_on, 1.0),
        Duty("lost messages", finder.sweep, 2.0),
        Duty("prefetch", lambda: prefetch.adapt(view.consumer), prefetch.EVERY),
        *_ageing(app, view, meter, on_change),
    ]


def _ageing(app: Celeriac, view: ConsumerView, meter: Meter, on_change: Callable[[], None]) -> list[Duty]:
    """The duty that lets jobs age, where a lane asks for it."""
    if not app.settings.ageing:
        return []
    rules = Ageing.parse(app.settings.ageing)
    aged = AgeingDuty(app.database, rules, queues=view.queues, on_change=on_change, meter=meter)
    return [Duty("ageing", aged.run, AGEING_EVERY)]
