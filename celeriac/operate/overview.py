"""Queues, workers and counts of jobs, now and lately."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from celeriac.application import current_app
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import job_rows
from celeriac.ledger.reads import queue_counts as ledger
from celeriac.ledger.reads.job_filter import Filter, settled
from celeriac.ledger.reads.job_rows import Line
from celeriac.ledger.reads.queue_counts import Depth
from celeriac.ledger.schema.holding import PauseKind
from celeriac.ledger.schema.lanes import DEFAULT, place_of
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.ledger.upkeep import pause_rows, worker_rows
from celeriac.ledger.upkeep.pause_rows import PauseRow
from celeriac.ledger.upkeep.worker_rows import RunningAttempt, WorkerSeen
from celeriac.operate import broker_lists
from celeriac.operate.broker_lists import UnconsumedList
from celeriac.priorities import LEVELS

if TYPE_CHECKING:
    from celeriac.application import Celeriac

__all__ = [
    "JobCounts",
    "Line",
    "QueueStatus",
    "WorkerStatus",
    "count_jobs",
    "list_workers",
    "live_workers",
    "queues",
    "stats",
]

#: At most so many running jobs are listed, of all workers; the longest first.
MOST_SHOWN = 500

#: The longest time between two looks at silent workers.
_LOOK = timedelta(seconds=1)

#: Rates are of this span.
LATELY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """One level of a lane, in the ledger and in the broker."""

    name: str  # of its list
    lane: str
    level: str
    due: int  # wait and could run
    later: int  # wait for a moment
    parked: int  # wait for other jobs
    running: int
    oldest: timedelta | None  # for how long the oldest due job has been due
    accepted: int  # within ``LATELY``
    completed: int
    failed: int
    sent: int  # due, and the ledger says that a message was sent
    in_broker: int | None  # messages that the broker has; None: it cannot be asked
    consumers: int  # live workers that draw from it
    held: int = 0  # due, and kept in the ledger because their queue or task is paused
    paused: PauseRow | None = None  # by whom, since when and why; None: it is not
    capped: bool = False  # more jobs wait than were looked at

    @property
    def drift(self) -> int | None:
        """Messages that were sent, are not claimed and are not in the broker.

        Workers have prefetched some of them. Below zero: the broker has copies; a copy never runs twice.
        """
        return None if self.in_broker is None else self.sent - self.in_broker


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker, and whether it lives."""

    worker: WorkerSeen
    alive: bool
    jobs: tuple[RunningAttempt, ...] = ()  # that it runs, the longest first
    # until others give its jobs back; None: it is heard of, it holds no job, or no other worker lives
    rescued_in: timedelta | None = None

    @property
    def state(self) -> str:
        if self.worker.stopped is not None:
            return "stopped"
        return "alive" if self.alive else "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """Jobs by state now, and jobs accepted and ended within a span."""

    clock: datetime
    within: timedelta
    due: int
    later: int
    retrying: int
    running: int
    accepted: int
    completed: int
    failed: int
    cancelled: int
    oldest: timedelta | None = None  # for how long the oldest due job has been due
    held: int = 0  # due, of what is paused
    capped: bool = False  # more jobs wait than were looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits and runs, by queue.

    Attributes:
        most: so many waiting jobs of each queue were looked at; None: all.
    """

    moment: datetime  # the database's
    depths: Sequence[Depth]
    most: int | None = None


def backlog(*, most: int | None = None, app: Celeriac | None = None) -> Backlog:
    """What waits and runs now; with ``most`` it costs no more, however many jobs wait."""
    with current_app(app).database.reading() as connection:
        moment = clock(connection)
        return Backlog(moment=moment, depths=ledger.depths(connection, most=most), most=most)


def queues(*, known: Backlog | None = None, app: Celeriac | None = None) -> list[QueueStatus]:
    """Every list of the app's lanes, and those that have jobs or a worker: by lane, the default one first.

    Args:
        known: what waits and runs, where it was read a moment ago.
    """
    platform = current_app(app)
    waiting = known or backlog(app=platform)
    with platform.database.reading() as connection:
        moment = clock(connection)
        depths = {depth.queue: depth for depth in waiting.depths}
        accepted = ledger.accepted(connection, moment - LATELY)
        ended = ledger.ended(connection, moment - LATELY)
        living = _living(platform, connection)
        stopped = {row.name: row for row in pause_rows.rows(connection) if row.kind is PauseKind.QUEUE}
    lanes = platform.amqp.queues.lanes
    found = depths.keys() | accepted.keys() | {queue for queue, _ in ended}
    drawn = {each for worker in living for each in worker.queues}
    found |= {each for each in drawn | stopped.keys() if place_of(each).level is not None}
    names = _ordered(platform, found)
    lengths = broker_lengths(names, app=platform)
    return [
        _queue(
            depths.get(name) or _empty_depth(name),
            waiting,
            lane=lanes.place(name).lane,
            level=lanes.level(name),
            accepted=accepted.get(name, 0),
            completed=ended.get((name, JobState.COMPLETED), 0),
            failed=ended.get((name, JobState.FAILED), 0),
            in_broker=lengths.get(name),
            consumers=sum(name in worker.queues for worker in living),
            paused=stopped.get(name),
        )
        for name in names
    ]


def list_workers(
    *, within: timedelta = timedelta(hours=1), app: Celeriac | None = None
) -> list[WorkerStatus]:
    """The workers that were heard of within that span, with their state."""
    platform = current_app(app)
    with platform.database.reading() as connection:
        found = worker_rows.seen(connection, within=within)
        busy = [worker.id for worker in found if worker.running]
        attempts = worker_rows.attempts_of(connection, busy, limit=MOST_SHOWN)
    settings = platform.settings
    timeout, late = (timedelta(seconds=each) for each in (settings.worker_timeout, 2 * settings.heartbeat))
    heard = {worker.id for worker in found if worker.stopped is None and worker.silent < late}
    return [
        WorkerStatus(
            worker=worker,
            alive=worker.stopped is None and worker.silent < timeout,
            jobs=tuple(attempt for attempt in attempts if attempt.worker_id == worker.id),
            rescued_in=_rescued_in(worker, timeout) if heard and worker.id not in heard else None,
        )
        for worker in found
    ]


def _rescued_in(worker: WorkerSeen, timeout: timedelta) -> timedelta | None:
    """A worker that lives looks every second, and must have seen the same heartbeat for the whole timeout."""
    if worker.stopped is not None or not worker.running:
        return None
    return max(timeout - worker.silent, timedelta(0)) + _LOOK


def live_workers(*, app: Celeriac | None = None) -> list[WorkerSeen]:
    """The workers that live."""
    platform = current_app(app)
    with platform.database.reading() as connection:
        return _living(platform, connection)


def tasks_of_workers(*, name: str | None = None, app: Celeriac | None = None) -> set[str]:
    """The tasks that living workers know, of whatever code; of these only ``name``, if given."""
    platform = current_app(app)
    with platform.database.reading() as connection:
        within = timedelta(seconds=platform.settings.worker_timeout)
        return worker_rows.tasks_of_the_living(connection, within=within, name=name)


def stats(wanted: Filter, *, app: Celeriac | None = None) -> list[Line]:
    """The jobs that match, counted: by task and state, by task (state None), in all (task None)."""
    database, found = current_app(app).database, []
    with database.reading() as connection:
        meant = settled(connection, wanted)
    for by in job_rows.LINES_BY:  # each may take as long as a statement may
        with database.reading() as connection:
            found += job_rows.lines(connection, meant, by=by)
    return found


def count_jobs(
    *, within: timedelta = timedelta(minutes=1), known: Backlog | None = None, app: Celeriac | None = None
) -> JobCounts:
    """Count the jobs: those that are there now, and those accepted and ended within that span.

    Args:
        known: what waits and runs, where it was read a moment ago.
    """
    waiting = known or backlog(app=app)
    depths = waiting.depths
    with current_app(app).database.reading() as connection:
        moment = clock(connection)
        accepted = ledger.accepted(connection, moment - within)
        ended = ledger.ended(connection, moment - within)
    ended_as = {
        state: sum(count for (_, found), count in ended.items() if found is state) for state in TERMINAL
    }
    return JobCounts(
        clock=moment,
        within=within,
        due=sum(depth.due for depth in depths),
        later=sum(depth.later + depth.parked for depth in depths),
        retrying=sum(depth.retrying for depth in depths),
        running=sum(depth.running for depth in depths),
        accepted=sum(accepted.values()),
        completed=ended_as[JobState.COMPLETED],
        failed=ended_as[JobState.FAILED],
        cancelled=ended_as[JobState.CANCELLED],
        held=sum(depth.held for depth in depths),
        capped=_is_capped(waiting, *depths),
        oldest=max(
            (waiting.moment - depth.oldest for depth in depths if depth.oldest is not None), default=None
        ),
    )


def broker_lengths(names: list[str], *, app: Celeriac | None = None) -> dict[str, int]:
    """How many messages the broker has in each queue; empty when it does not answer."""
    platform = current_app(app)
    try:
        with platform.connection_or_acquire() as connection:
            lengths: dict[str, int] = connection.default_channel.lengths(names)
            return lengths
    except platform.broker_errors:
        return {}


def unconsumed_lists(*, app: Celeriac | None = None) -> list[UnconsumedList]:
    """Lists with messages in the broker that no worker consumes; empty when it does not answer."""
    platform = current_app(app)
    consumed = {queue for worker in live_workers(app=platform) for queue in worker.queues}
    try:
        return broker_lists.unconsumed_lists(platform, consumed=consumed)
    except platform.broker_errors:
        return []


def _living(app: Celeriac, connection: Any) -> list[WorkerSeen]:
    timeout = timedelta(seconds=app.settings.worker_timeout)
    return [worker for worker in worker_rows.seen(connection, within=timeout) if worker.stopped is None]


def _ordered(app: Celeriac, found: Collection[str]) -> list[str]:
    """The lists of the app's lanes and ``found``, by lane and level; a list without a level comes last."""
    queues = app.amqp.queues
    declared = queues.declared_lanes()
    own = [each for lane in declared for each in queues.lanes.lists(lane)]

    def place(name: str) -> tuple[bool, int, str, int, str]:
        lane, level = queues.lanes.place(name)
        known = declared.index(lane) if lane in declared else len(declared)
        return lane != DEFAULT, known, lane, LEVELS.index(level) if level else len(LEVELS), name

    return sorted({*own, *found}, key=place)


def _queue(
    depth: Depth,
    waiting: Backlog,
    *,
    lane: str,
    level: str,
    accepted: int,
    completed: int,
    failed: int,
    in_broker: int | None,
    consumers: int,
    paused: PauseRow | None,
) -> QueueStatus:
    return QueueStatus(
        name=depth.queue,
        lane=lane,
        level=level,
        due=depth.due,
        later=depth.later,
        parked=depth.parked,
        held=depth.held,
        running=depth.running,
        oldest=None if depth.oldest is None else waiting.moment - depth.oldest,
        capped=_is_capped(waiting, depth),
        accepted=accepted,
        completed=completed,
        failed=failed,
        sent=depth.sent,
        in_broker=in_broker,
        consumers=consumers,
        paused=paused,
    )


def _is_capped(waiting: Backlog, *depths: Depth) -> bool:
    """Whether of one of these queues more may wait than was looked at."""
    return waiting.most is not None and any(
        depth.due + depth.later + depth.parked + depth.held >= waiting.most for depth in depths
    )


def _empty_depth(queue: str) -> Depth:
    return Depth(queue=queue, sent=0, unsent=0, later=0, parked=0, held=0, retrying=0, running=0, oldest=None)
