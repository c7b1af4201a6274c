"""Record what attempts came to. Only the holder of an attempt may say it: (id, attempt, worker)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Insert,
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
    update,
)

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import PARKED, Instant, Seconds, after, now, unindexed
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.models import FAILURES, JOBS, NAME_LENGTH
from celeriac.ledger.writes.new_jobs import NewJob, enqueue


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
    """What one attempt came to.

    Attributes:
        state: completed, error, failed or cancelled; pending when the task replaced itself.
            ``error`` becomes ``failed`` where no try is left and ``cancelled`` where that was asked.
        result: JSON of the return value; None where there is none or it is ignored.
        delay: seconds from the database's now to the next attempt.
        max_tries: raises the job's own limit when it is larger.
        message: what the next attempt runs, when that differs from what this one ran.
        parked: the row waits for a message of the same id that its replacement sends later.
        successors: jobs that exist if and only if this outcome is accepted.
    """

    id: UUID
    attempt: int
    state: JobState
    result: str | None = None
    failure: Failure | None = None
    delay: float = 0.0
    max_tries: int | None = None
    message: NewJob | None = None
    parked: bool = False
    successors: tuple[NewJob, ...] = ()


def record(connection: Connection, outcomes: Sequence[Outcome], *, worker: UUID) -> dict[UUID, JobState]:
    """Write what attempts of ``worker`` came to; return the state that each accepted one led to.

    An outcome that is missing from the answer came too late: the attempt was taken from this worker.
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
    return accepted


_COMPLETED: Mapping[str, Any] = {"id": JOBS.c.id.type, "attempt": JOBS.c.try_count.type, "result": Text()}
_OTHERS: Mapping[str, Any] = {
    "id": JOBS.c.id.type,
    "attempt": JOBS.c.try_count.type,
    "state": String(),
    "delay": Seconds(),
    "max_tries": JOBS.c.max_tries.type,
    "failure": Text(),
}


def _record_completed(
    connection: Connection, outcomes: Sequence[Outcome], worker: UUID
) -> dict[UUID, JobState]:
    dialect = connection.dialect.name
    return recorded(connection.execute(completing(dialect), completions(dialect, outcomes, worker)))


def completions(dialect: str, outcomes: Sequence[Outcome], worker: UUID) -> dict[str, Any]:
    """The parameters of ``completing``."""
    rows = [{"id": o.id, "attempt": o.attempt, "result": o.result} for o in outcomes]
    return (
        batch.values(dialect, _COMPLETED, rows)
        | batch.ids(dialect, [o.id for o in outcomes], name="given")
        | {"worker": worker}
    )


def recorded(rows: Iterable[Sequence[Any]]) -> dict[UUID, JobState]:
    """What ``completing`` returned."""
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
            "delay": o.delay,
            "max_tries": o.max_tries or 0,
            "failure": o.failure.line if o.failure else None,
        }
        for o in outcomes
    ]
    parameters = batch.values(dialect, _OTHERS, rows) | {"worker": worker}
    parameters |= batch.ids(dialect, [o.id for o in outcomes], name="given")
    found = connection.execute(_unsuccessful(dialect), parameters).all()
    accepted: dict[UUID, tuple[JobState, Any]] = {row.id: (JobState(row.state), row.started) for row in found}
    attempts = {(row.id, row.try_count) for row in found}
    won = [o for o in outcomes if (o.id, o.attempt) in attempts]
    _write_failures(connection, won, worker, {job: started for job, (_, started) in accepted.items()})
    for outcome in won:
        if outcome.message and accepted[outcome.id][0] is JobState.ERROR:
            connection.execute(_rewrite(), _message_values(outcome.message) | {"job": outcome.id})
    return {job: state for job, (state, _) in accepted.items()}


def _record_replaced(connection: Connection, outcome: Outcome, worker: UUID) -> dict[UUID, JobState]:
    parameters = {
        "job": outcome.id,
        "attempt": outcome.attempt,
        "worker": worker,
        "parked": outcome.parked,
        "delay": outcome.message.delay if outcome.message else 0.0,
    }
    state = connection.execute(_replaced(), parameters).scalar()
    if state is None or state == JobState.CANCELLED:
        return {} if state is None else {outcome.id: JobState.CANCELLED}
    if outcome.message:
        connection.execute(_rewrite(), _message_values(outcome.message) | {"job": outcome.id})
    if outcome.successors:
        enqueue(connection, [job.unsent() for job in outcome.successors])
    return {outcome.id: JobState.PENDING}


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


def _held(worker: Any, job: Any, attempt: Any) -> Any:
    return and_(
        JOBS.c.id == job,
        JOBS.c.try_count == attempt,
        unindexed(JOBS.c.state) == JobState.RUNNING,
        unindexed(JOBS.c.worker_id) == worker,
    )


def _named(dialect: str) -> ColumnElement[bool]:
    """Beside the join: PostgreSQL would otherwise walk all rows, if it thinks that there are few."""
    return batch.among(dialect, JOBS.c.id, name="given")


def _worker() -> Any:
    return bindparam("worker", type_=JOBS.c.worker_id.type)


@lru_cache
def completing(dialect: str) -> Update:
    """The statement that records completed attempts; ``completions`` has its parameters."""
    given = batch.relation(dialect, _COMPLETED)
    return (
        update(JOBS)
        .where(_named(dialect), _held(_worker(), given.c.id, given.c.attempt))
        .values(
            state=JobState.COMPLETED,
            finished=now(),
            worker_id=null(),
            result=given.c.result,
            cancel_requested=null(),
        )
        .returning(JOBS.c.id)
    )


@lru_cache
def _unsuccessful(dialect: str) -> Update:
    given = batch.relation(dialect, _OTHERS)
    limit = case((given.c.max_tries > JOBS.c.max_tries, given.c.max_tries), else_=JOBS.c.max_tries)
    wanted = given.c.state
    state = case(
        (
            and_(wanted == JobState.ERROR.value, JOBS.c.cancel_requested.is_not(None)),
            literal(JobState.CANCELLED.value),
        ),
        (and_(wanted == JobState.ERROR.value, JOBS.c.try_count >= limit), literal(JobState.FAILED.value)),
        else_=wanted,
    )
    again = state == JobState.ERROR.value
    return (
        update(JOBS)
        .where(_named(dialect), _held(_worker(), given.c.id, given.c.attempt))
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
def _replaced() -> Update:
    parked: Any = bindparam("parked", type_=Boolean)
    delay: Any = bindparam("delay", type_=Seconds)
    cancelled = JOBS.c.cancel_requested.is_not(None)
    return (
        update(JOBS)
        .where(_held(_worker(), bindparam("job", type_=JOBS.c.id.type), bindparam("attempt")))
        .values(
            state=case((cancelled, literal(JobState.CANCELLED.value)), else_=literal(JobState.PENDING.value)),
            try_count=JOBS.c.try_count - 1,
            next_attempt_after=case((parked, literal(PARKED, Instant)), else_=after(delay)),
            dispatched=case((cancelled, JOBS.c.dispatched)),
            finished=case((cancelled, now())),
            worker_id=null(),
            started=null(),
        )
        .returning(JOBS.c.state)
    )


_REWRITTEN = (
    "job_type",
    "queue",
    "priority",
    "payload",
    "content_type",
    "content_encoding",
    "headers",
    "message_tag",
    "timeout",
    "group_id",
)


@lru_cache
def _rewrite() -> Update:
    """Give a waiting row another message; its not-before, when it has one, wins over the delay."""
    fields: dict[str, Any] = {name: bindparam(f"to_{name}", type_=JOBS.c[name].type) for name in _REWRITTEN}
    not_before = bindparam("to_not_before", type_=Instant)
    return (
        update(JOBS)
        .where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type))
        .values(fields | {"next_attempt_after": func.coalesce(not_before, JOBS.c.next_attempt_after)})
    )


def _message_values(job: NewJob) -> dict[str, Any]:
    return {f"to_{name}": getattr(job, name) for name in _REWRITTEN} | {
        "to_headers": dict(job.headers),
        "to_not_before": job.not_before,
    }


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
