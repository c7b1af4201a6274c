"""Why a job is not running: ``explain(id)``. It reads the facts first; ``decide`` needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.application import current_app
from celeriac.display import length, stamp
from celeriac.errors import JobNotFound
from celeriac.headers import CHORD
from celeriac.ids import parse_row_id
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import job_rows, position
from celeriac.ledger.reads.position import MOST_AHEAD, Position
from celeriac.ledger.schema.columns import FOLLOWING, PARKED
from celeriac.ledger.schema.lanes import draw_order
from celeriac.ledger.schema.lifecycle import TERMINAL, WAITING, JobState
from celeriac.ledger.upkeep import pause_rows
from celeriac.ledger.upkeep.pause_rows import PauseRow
from celeriac.ledger.upkeep.worker_rows import WorkerSeen
from celeriac.operate import limits, overview, pauses
from celeriac.operate.presentation import unique_words

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: How long a message may be missing before the workers send it again.
_GRACE = timedelta(seconds=10)


class Reason(StrEnum):
    """Why a job is not running.

    >>> explain(welcome.delay(7).id).reason is Reason.NO_WORKER
    True
    """

    ENDED = "ended"  # it is completed, failed or cancelled
    RUNNING = "running"  # a worker is at it
    CANCELLING = "cancelling"  # it runs, and somebody asked it to stop
    LOST = "lost"  # it runs, and its worker is silent
    EXPIRED = "expired"  # it will be cancelled
    WAITS_FOR_MEMBERS = "waits for members"  # of its chord
    WAITS_FOR_REPLACEMENT = "waits for replacement"  # it replaced itself with other jobs
    FOLLOWS = "follows"  # the job that has its unique key, and takes its result
    PAUSED = "paused"  # its queue or its task is
    LIMITED = "limited"  # it waits for a limit of its task
    UNKNOWN_TASK = "unknown task"  # to every worker that saw it
    NOT_DUE = "not due"  # delayed, or waiting for its next attempt
    NO_WORKER = "no worker"  # lives that draws from its queue
    BEHIND_OTHERS = "behind others"  # more important or earlier ones
    NOT_SENT = "not sent"  # its message; the dispatcher is about to, or the broker is away
    STRANDED = "stranded"  # its message is lost, and will be sent again
    IN_BROKER = "in broker"  # its message; it is next
    WITH_WORKER = "with a worker"  # its message; the job is not claimed yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a job when somebody asks why it is not running."""

    job: Any  # its row
    clock: datetime  # the database's
    workers: Sequence[WorkerSeen]  # those that live
    position: Position
    in_broker: int | None  # messages in its queue; None: the broker cannot be asked
    members_left: int = 0  # of the chord whose body it is
    known: bool = True  # its task, to a worker that lives
    pause: PauseRow | None = None  # of its queue or task
    limited: tuple[str, str | None] | None = None  # why a limit holds it back, and what to do about it
    followed: str | None = None  # the job whose result it takes
    answers: str | None = None  # which calls are answered with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job is not running, as a value and as a sentence.

    >>> explain(welcome.delay(7).id).remedy
    'celery -A app worker -Q normal'
    """

    id: str  # of the job
    state: JobState  # of the job
    reason: Reason  # for programs
    sentence: str  # why
    remedy: str | None  # what to do about it; None: nothing
    answers: str | None = None  # which calls are answered with this job, and for how long; None: none is


def explain(id: str, *, app: Celeriac | None = None) -> Explanation:
    """Why the job ``id`` is not running.

    Raises:
        BadArgument: ``id`` can be no job's.
        JobNotFound: the ledger has no such job.

    >>> explain(welcome.apply_async((7,), countdown=3600).id).sentence
    'it waits until ..., another ...'
    """
    platform = current_app(app)
    return decide(_facts(platform, parse_row_id(id, name="id")))


def decide(facts: Facts) -> Explanation:
    """The first reason that applies. Final reasons come first, those that pass by themselves last."""
    job = facts.job
    found = _if_over(facts) or _if_held_back(facts) or _if_nobody_takes_it(facts) or _if_limited(facts)
    found = found or _on_its_way(facts)
    reason, sentence, remedy = found
    return Explanation(
        id=str(job.id),
        state=JobState(job.state),
        reason=reason,
        sentence=sentence,
        remedy=remedy,
        answers=facts.answers,
    )


_Found = tuple[Reason, str, str | None]


def _if_over(facts: Facts) -> _Found | None:
    """The reason when it has ended or runs."""
    job = facts.job
    if job.state in TERMINAL:
        error = f": {job.failure_info}" if job.failure_info else ""
        remedy = None if job.state != JobState.FAILED else f"celery -A app dead-letters replay {job.id}"
        return Reason.ENDED, f"it {_ENDED[job.state]} at {stamp(job.finished)}{error}", remedy
    if job.state != JobState.RUNNING:
        return None
    since = length(facts.clock - job.started)
    holder = next((worker for worker in facts.workers if worker.id == job.worker_id), None)
    if holder is None:
        text = f"its worker {job.worker_id} has been silent for too long; another one gives the job back soon"
        remedy = None if facts.workers else "no worker lives to do that: celery -A app worker"
        return Reason.LOST, text, remedy
    if job.cancel_requested:
        remedy = f"celery -A app jobs cancel --hard {job.id}" if job.cancel_requested == "soft" else None
        text = f"it runs on {holder.hostname} for {since} and was asked to stop ({job.cancel_requested})"
        return Reason.CANCELLING, text, remedy
    return Reason.RUNNING, f"it runs on {holder.hostname} for {since}, attempt {job.try_count}", None


def _if_held_back(facts: Facts) -> _Found | None:
    """The reason when it may not run yet, or never will."""
    job, moment = facts.job, facts.clock
    if job.expires is not None and job.expires <= moment:
        return _expired(facts)
    if facts.followed is not None:
        remedy = None if job.follows == job.id else f"celery -A app jobs explain {job.follows}"
        return Reason.FOLLOWS, facts.followed, remedy
    if job.next_attempt_after == PARKED:
        return _parked(facts)
    if facts.pause is not None:
        text = f"its {facts.pause.kind} {facts.pause.name!r} is {pauses.in_words(facts.pause)}"
        return Reason.PAUSED, text, pauses.remedy(facts.pause)
    if job.unknown_since is not None:
        since = length(moment - job.unknown_since)
        text = f"no worker that saw it in the last {since} knows the task {job.job_type!r}"
        remedy = "start a worker of a version that has the task, unless one is busy; else it fails in an hour"
        return Reason.UNKNOWN_TASK, text, remedy
    if job.next_attempt_after > moment:
        wait = length(job.next_attempt_after - moment)
        why = f" after attempt {job.try_count} failed: {job.failure_info}" if job.try_count else ""
        return Reason.NOT_DUE, f"it waits until {stamp(job.next_attempt_after)}, another {wait}{why}", None
    return None


def _expired(facts: Facts) -> _Found:
    text = f"it expired at {stamp(facts.job.expires)} and will be cancelled"
    if facts.job.held is None or facts.pause is None:
        return Reason.EXPIRED, text, None
    text += f" when its {facts.pause.kind} {facts.pause.name!r} goes on, {pauses.in_words(facts.pause)}"
    return Reason.EXPIRED, text, pauses.remedy(facts.pause)


def _parked(facts: Facts) -> _Found:
    if facts.job.headers.get(CHORD) is not None:
        text = f"it is the body of a chord and waits for {facts.members_left:,} of its members"
        remedy = None if facts.members_left else "a worker releases it within seconds"
        return Reason.WAITS_FOR_MEMBERS, text, remedy
    return Reason.WAITS_FOR_REPLACEMENT, "it replaced itself and waits for what replaced it", None


def _if_nobody_takes_it(facts: Facts) -> _Found | None:
    queue = facts.job.queue
    if not facts.workers:
        return Reason.NO_WORKER, "no worker lives", f"celery -A app worker -Q {queue}"
    if not _consumers(facts):
        others = ", ".join(sorted({queue for worker in facts.workers for queue in worker.queues}))
        text = f"no live worker draws from its queue {queue!r}, only from {others}"
        return Reason.NO_WORKER, text, f"celery -A app worker -Q {queue}"
    if not facts.known:
        text = f"no live worker knows the task {facts.job.job_type!r}"
        return (
            Reason.UNKNOWN_TASK,
            text,
            "start a worker of the code that has it, with this ledger and broker",
        )
    return None


def _if_limited(facts: Facts) -> _Found | None:
    if facts.limited is None:
        return None
    sentence, remedy = facts.limited
    if facts.job.fair_key is not None:
        return Reason.BEHIND_OTHERS, sentence + _busy(facts), remedy
    return Reason.LIMITED, sentence, remedy


def _on_its_way(facts: Facts) -> _Found:
    job, place = facts.job, facts.position
    ahead = place.sent + place.unsent + place.drawn_first
    if job.dispatched is None:
        if ahead:
            return Reason.BEHIND_OTHERS, f"{_number(ahead)} go before it{_busy(facts)}", None
        text = "it is due; the dispatcher sends its message within a second"
        if facts.in_broker is None:
            return Reason.NOT_SENT, "it is due, but the broker cannot be reached", "see CELERY_BROKER_URL"
        return Reason.NOT_SENT, text, None
    since = facts.clock - job.dispatched
    if facts.in_broker == 0 and since > _GRACE:
        text = (
            f"its message was sent {length(since)} ago and is not in the broker any more; the workers send "
            f"it again (sent {job.dispatch_count} times)"
        )
        return Reason.STRANDED, text, None
    if ahead:
        text = f"its message was sent {length(since)} ago; {_number(ahead)} go before it{_busy(facts)}"
        return Reason.BEHIND_OTHERS, text, None
    if facts.in_broker is None:
        text = f"its message was sent {length(since)} ago; the broker cannot be asked whether it has it still"
        return Reason.IN_BROKER, text, "see CELERY_BROKER_URL"
    if facts.in_broker == 0:
        text = (
            f"its message was sent {length(since)} ago and has left the broker: a worker is about to claim it"
        )
        return Reason.WITH_WORKER, text, None
    text = f"its message was sent {length(since)} ago and is next in the queue {job.queue!r}{_busy(facts)}"
    return Reason.IN_BROKER, text, None


def _number(ahead: int) -> str:
    return (
        f"more than {MOST_AHEAD:,} jobs"
        if ahead >= MOST_AHEAD
        else f"{ahead:,} more important or earlier jobs"
    )


def _busy(facts: Facts) -> str:
    consumers = _consumers(facts)
    places, taken = sum(w.concurrency for w in consumers), sum(w.running for w in consumers)
    return f"; {min(taken, places)} of {places} places of its workers are taken"


def _consumers(facts: Facts) -> list[WorkerSeen]:
    return [worker for worker in facts.workers if facts.job.queue in worker.queues]


def _facts(app: Celeriac, wanted: UUID) -> Facts:
    with app.database.reading() as connection:
        job = job_rows.find(connection, wanted)
        if job is None:
            raise JobNotFound(str(wanted))
        workers = overview.live_workers(app=app)
        place = position.position(connection, job, drawn_before=_drawn_before(job.queue, workers))
        left = 0
        if job.next_attempt_after == PARKED and job.group_id is not None:
            left = position.members_left(connection, job.group_id, but=wanted)
        moment = clock(connection)
        paused = pause_rows.rows(connection)
        waits = job.line is not None and job.dispatched is None and job.state in WAITING
        limited = limits.reason_to_wait(connection, job) if waits else None
        follows = job.follows is not None and job.next_attempt_after == FOLLOWING
        followed = unique_words.followed(connection, job) if follows else None
        answers = unique_words.answers_for(connection, job)
    return Facts(
        job=job,
        clock=moment,
        workers=workers,
        position=place,
        in_broker=overview.broker_lengths([job.queue], app=app).get(job.queue),
        members_left=left,
        limited=limited,
        followed=followed,
        answers=answers,
        known=bool(overview.tasks_of_workers(name=job.job_type, app=app)),
        pause=pauses.that_stops(paused, queue=job.queue, task=job.job_type),
    )


def _drawn_before(queue: str, workers: Sequence[WorkerSeen]) -> tuple[str, ...]:
    """The lists that every worker of the queue draws before it."""
    orders = [[each.name for each in draw_order(worker.queues, foreign=None)] for worker in workers]
    before = [order[: order.index(queue)] for order in orders if queue in order]
    return tuple(name for name in (before[0] if before else ()) if all(name in each for each in before))


_ENDED = {
    JobState.COMPLETED: "was completed",
    JobState.FAILED: "was given up",
    JobState.CANCELLED: "was cancelled",
}
