"""Record the outcomes of attempts. An outcome must name the attempt and its worker, or it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Connection,
    FromClause,
    Insert,
    Select,
    String,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import PARKED, Instant, Seconds, after, now, unindexed
from celeriac.ledger.schema.delays import bounded
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.locking import found_for, in_order
from celeriac.ledger.schema.models import FAILURES, JOBS, LOST
from celeriac.ledger.schema.state_conditions import is_in, may_enter
from celeriac.ledger.writes.new_jobs import NewJob, enqueue, unpark
from celeriac.ledger.writes.rewrite import rewrite
from celeriac.names import NAME_LENGTH


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt was not successful; texts are short and hold no NUL and no lone surrogate."""

    kind: AttemptKind
    exception_type: str | None = None
    exception: str | None = None
    frame: str | None = None
    traceback: str | None = None

    @property
    def line(self) -> str:
        given = ": ".join(part for part in (self.exception_type, self.exception) if part)
        return f"{self.kind}: {given}" if given else str(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one attempt.

    Attributes:
        state: completed, error, failed or cancelled; pending when the task replaced itself, or did not begin.
            ``error`` becomes ``failed`` where no try is left. Both become ``cancelled`` where a cancel was
            requested.
        result: JSON of the return value; None: there is none, or it is ignored; LOST: the result store does
            not have it. LOST does not replace what ``keep_result`` wrote before.
        delay: seconds from the database's now to the next attempt.
        max_tries: raises the job's own limit when it is larger.
        message: the message of the next attempt, when it differs from this one's.
        expiry: whether the expiry of ``message`` replaces the row's.
        parked: the row waits for a message of the same id that its replacement sends later.
        successors: jobs that are enqueued if and only if this outcome is accepted, unless it is a cancel.
        oldest: ``error`` becomes ``failed`` of a job that was accepted so many seconds ago; 0: of none.
    """

    id: UUID
    attempt: int
    state: JobState
    result: str | None = None
    failure: Failure | None = None
    delay: float = 0.0
    max_tries: int | None = None
    message: NewJob | None = None
    expiry: bool = False
    parked: bool = False
    successors: tuple[NewJob, ...] = ()
    oldest: float = 0.0

    @property
    def only_completes(self) -> bool:
        """Whether one statement on the row is all that it takes."""
        return self.state is JobState.COMPLETED and not self.successors


def record(connection: Connection, outcomes: Sequence[Outcome], *, worker: UUID) -> dict[UUID, JobState]:
    """Write the outcomes of attempts of ``worker``; return the state that each accepted one led to.

    An outcome that is missing from the answer came too late: the attempt was taken from this worker. Or
    another transaction has locked its row (see ``locked``): a lock does not hold up the other outcomes.
    """
    completed = [o for o in outcomes if o.state is JobState.COMPLETED]
    replaced = [o for o in outcomes if o.state is JobState.PENDING]
    others = [o for o in outcomes if o.state is not JobState.COMPLETED and o.state is not JobState.PENDING]
    accepted: dict[UUID, JobState] = {}
    if completed:
        accepted |= _record_completed(connection, completed, worker)
    if others:
        accepted |= _record_unsuccessful(connection, others, worker)
    for outcome in replaced:
        accepted |= _record_replaced(connection, outcome, worker)
    ended = [o for o in outcomes if accepted.get(o.id, JobState.CANCELLED) is not JobState.CANCELLED]
    _write_successors(connection, ended)
    return accepted


def locked(connection: Connection, outcomes: Sequence[Outcome], *, worker: UUID) -> set[UUID]:
    """Those of ``outcomes`` whose attempts ``worker`` still holds: their rows are locked by others."""
    dialect = connection.dialect.name
    parameters = batch.id_parameters(dialect, [o.id for o in outcomes], name="given") | {"worker": worker}
    held = {(row.id, row.try_count) for row in connection.execute(_still_held(dialect), parameters)}
    return {o.id for o in outcomes if (o.id, o.attempt) in held}


def keep_result(connection: Connection, job: UUID, attempt: int, result: str, *, worker: UUID) -> bool:
    """Write a running attempt's return value before its outcome; False: ``worker`` does not hold it."""
    values = {"job": job, "attempt": attempt, "worker": worker, "to_result": result}
    return bool(connection.execute(_keep_result(), values).rowcount)


_COMPLETED: Mapping[str, Any] = {"id": JOBS.c.id.type, "attempt": JOBS.c.try_count.type, "result": Text()}
#: Where the outcome of an attempt that was not successful may lead.
_UNSUCCESSFUL = (JobState.ERROR, JobState.FAILED, JobState.CANCELLED)
_OTHERS: Mapping[str, Any] = {
    "id": JOBS.c.id.type,
    "attempt": JOBS.c.try_count.type,
    "state": String(),
    "delay": Seconds(),
    "max_tries": JOBS.c.max_tries.type,
    "failure": Text(),
    "oldest": Seconds(),
}


def _record_completed(
    connection: Connection, outcomes: Sequence[Outcome], worker: UUID
) -> dict[UUID, JobState]:
    dialect = connection.dialect.name
    return completed_states(
        connection.execute(complete_statement(dialect), complete_parameters(dialect, outcomes, worker))
    )


def complete_parameters(dialect: str, outcomes: Sequence[Outcome], worker: UUID) -> dict[str, Any]:
    """The parameters of ``complete_statement``."""
    rows = [{"id": o.id, "attempt": o.attempt, "result": o.result} for o in outcomes]
    return batch.table_parameters(dialect, _COMPLETED, rows) | {"worker": worker}


def completed_states(rows: Iterable[Sequence[Any]]) -> dict[UUID, JobState]:
    """The rows that ``complete_statement`` returned, as states by id."""
    return dict.fromkeys((row[0] for row in rows), JobState.COMPLETED)


def _record_unsuccessful(
    connection: Connection, outcomes: Sequence[Outcome], worker: UUID
) -> dict[UUID, JobState]:
    dialect = connection.dialect.name
    rows = [
        {
            "id": o.id,
            "attempt": o.attempt,
            "state": str(o.state),
            "delay": bounded(o.delay),
            "max_tries": o.max_tries or 0,
            "failure": o.failure.line if o.failure else None,
            "oldest": o.oldest,
        }
        for o in outcomes
    ]
    parameters = batch.table_parameters(dialect, _OTHERS, rows) | {"worker": worker}
    found = connection.execute(_unsuccessful(dialect), parameters).all()
    accepted: dict[UUID, tuple[JobState, Any]] = {row.id: (JobState(row.state), row.started) for row in found}
    attempts = {(row.id, row.try_count) for row in found}
    won = [o for o in outcomes if (o.id, o.attempt) in attempts]
    _write_failures(connection, won, worker, {job: started for job, (_, started) in accepted.items()})
    for outcome in won:
        if outcome.message and accepted[outcome.id][0] is JobState.ERROR:
            rewrite(connection, outcome.id, outcome.message, expiry=outcome.expiry)
    return {job: state for job, (state, _) in accepted.items()}


def _record_replaced(connection: Connection, outcome: Outcome, worker: UUID) -> dict[UUID, JobState]:
    parameters = {
        "job": outcome.id,
        "attempt": outcome.attempt,
        "worker": worker,
        "parked": outcome.parked,
        "delay": bounded(outcome.message.delay if outcome.message else outcome.delay),
    }
    state = connection.execute(_replaced(), parameters).scalar()
    if state is None or state == JobState.CANCELLED:
        return {} if state is None else {outcome.id: JobState.CANCELLED}
    if outcome.message:
        rewrite(connection, outcome.id, outcome.message, expiry=outcome.expiry)
    return {outcome.id: JobState.PENDING}


def _write_successors(connection: Connection, accepted: Sequence[Outcome]) -> None:
    """Write what follows; a row that is there waits for its message, or has it already."""
    for job in (job.unsent() for outcome in accepted for job in outcome.successors):
        if not enqueue(connection, [job]):
            unpark(connection, job)


def _write_failures(
    connection: Connection, outcomes: Sequence[Outcome], worker: UUID, started: Mapping[UUID, Any]
) -> None:
    rows = [
        {
            "job_id": o.id,
            "attempt": o.attempt,
            "worker_id": worker,
            "started": started[o.id],
            "kind": str(o.failure.kind),
            "exception_type": o.failure.exception_type and o.failure.exception_type[:NAME_LENGTH],
            "exception": o.failure.exception,
            "frame": o.failure.frame and o.failure.frame[-NAME_LENGTH:],
            "traceback": o.failure.traceback,
        }
        for o in outcomes
        if o.failure
    ]
    if rows:
        connection.execute(_failed_attempt(), rows)


def _held(worker: Any, job: Any, attempt: Any, state: Any) -> Any:
    """Whether a row is that attempt of that worker, and fulfils ``state``."""
    return and_(
        JOBS.c.id == job,
        JOBS.c.try_count == attempt,
        state,
        unindexed(JOBS.c.worker_id) == worker,
    )


def _worker() -> Any:
    return bindparam("worker", type_=JOBS.c.worker_id.type)


def _mine(dialect: str, given: FromClause, *targets: JobState) -> FromClause:
    """The outcomes of attempts that are this worker's; their rows are locked.

    A row that another transaction has locked is left out, so that it does not hold up the others.
    """
    held = _held(_worker(), given.c.id, given.c.attempt, may_enter(*targets, by_id=True))
    return found_for(dialect, given, held, name="mine")


@lru_cache
def complete_statement(dialect: str) -> Update:
    """The statement that records completed attempts; ``complete_parameters`` has its parameters."""
    given = _mine(dialect, batch.as_table(dialect, _COMPLETED), JobState.COMPLETED)
    return (
        update(JOBS)
        .where(JOBS.c.id == given.c.id)
        .values(
            state=JobState.COMPLETED,
            finished=now(),
            worker_id=null(),
            result=case(
                (given.c.result == LOST, func.coalesce(JOBS.c.result, given.c.result)), else_=given.c.result
            ),
            cancel_requested=null(),
        )
        .returning(JOBS.c.id)
    )


@lru_cache
def _keep_result() -> Update:
    running = is_in(JobState.RUNNING, by_id=True)
    mine = _held(_worker(), bindparam("job", type_=JOBS.c.id.type), bindparam("attempt"), running)
    return update(JOBS).where(mine).values(result=bindparam("to_result", type_=Text))


@lru_cache
def _unsuccessful(dialect: str) -> Update:
    given = _mine(dialect, batch.as_table(dialect, _OTHERS), *_UNSUCCESSFUL)
    limit = case((given.c.max_tries > JOBS.c.max_tries, given.c.max_tries), else_=JOBS.c.max_tries)
    wanted = given.c.state
    given_up = or_(wanted == JobState.ERROR.value, wanted == JobState.FAILED.value)
    state = case(
        # Also in the last attempt: as a dead letter, a bulk replay would run the cancelled job.
        (and_(given_up, JOBS.c.cancel_requested.is_not(None)), literal(JobState.CANCELLED.value)),
        (and_(wanted == JobState.ERROR.value, JOBS.c.try_count >= limit), literal(JobState.FAILED.value)),
        (and_(given.c.oldest > 0, JOBS.c.queued <= after(-given.c.oldest)), literal(JobState.FAILED.value)),
        else_=wanted,
    )
    again = state == JobState.ERROR.value
    return (
        update(JOBS)
        .where(JOBS.c.id == given.c.id)
        .values(
            state=state,
            max_tries=limit,
            next_attempt_after=case((again, after(given.c.delay)), else_=JOBS.c.next_attempt_after),
            dispatched=case((again, cast(null(), Instant)), else_=JOBS.c.dispatched),
            finished=case((again, cast(null(), Instant)), else_=now()),
            worker_id=null(),
            failure_info=given.c.failure,
        )
        .returning(JOBS.c.id, JOBS.c.state, JOBS.c.started, JOBS.c.try_count)
    )


@lru_cache
def _still_held(dialect: str) -> Select[Any]:
    mine = and_(is_in(JobState.RUNNING, by_id=True), unindexed(JOBS.c.worker_id) == _worker())
    return select(JOBS.c.id, JOBS.c.try_count).where(batch.id_in(dialect, JOBS.c.id, name="given"), mine)


@lru_cache
def _replaced() -> Update:
    parked: Any = bindparam("parked", type_=Boolean)
    delay: Any = bindparam("delay", type_=Seconds)
    cancelled = JOBS.c.cancel_requested.is_not(None)
    guard = may_enter(JobState.PENDING, JobState.CANCELLED, by_id=True)
    mine = _held(_worker(), bindparam("job", type_=JOBS.c.id.type), bindparam("attempt"), guard)
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(in_order(mine, skip=True)))
        .values(
            state=case((cancelled, literal(JobState.CANCELLED.value)), else_=literal(JobState.PENDING.value)),
            try_count=JOBS.c.try_count - 1,
            next_attempt_after=case((parked, literal(PARKED, Instant)), else_=after(delay)),
            dispatched=case((cancelled, JOBS.c.dispatched)),
            finished=case((cancelled, now())),
            worker_id=null(),
            started=null(),
            # Of a job that waits for what replaced it, for that may want the key, and nobody would ever end.
            unique_key=case((parked, cast(null(), JOBS.c.unique_key.type)), else_=JOBS.c.unique_key),
        )
        .returning(JOBS.c.state)
    )


@lru_cache
def _failed_attempt() -> Insert:
    given = (
        "job_id",
        "attempt",
        "worker_id",
        "started",
        "kind",
        "exception_type",
        "exception",
        "frame",
        "traceback",
    )
    return insert(FAILURES).values(
        {name: bindparam(name, type_=FAILURES.c[name].type) for name in given} | {"finished": now()}
    )
