"""Dead letters for unreadable deliveries, with their raw bytes; jobs whose task a worker does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Insert,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    null,
    select,
    update,
)

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Seconds, after, insert_of, now
from celeriac.ledger.schema.lifecycle import WAITING, AttemptKind, JobState
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import FAILURES, JOBS, WORKER_TASKS, WORKERS
from celeriac.ledger.schema.state_conditions import may_enter
from celeriac.ledger.writes.claims import MESSAGE_COLUMNS, Message


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A delivery that no worker can run."""

    id: UUID
    queue: str
    task: str
    raw: bytes
    content_type: str
    reason: str
    task_id: str | None = None  # the Celery task id that it names; None: it names none, or that of another


def write_dead_letters(connection: Connection, deliveries: Sequence[Unreadable]) -> None:
    """Write each delivery as a failed job with its raw bytes; a row that exists is left as it is."""
    dialect = connection.dialect.name
    for delivery in deliveries:
        values = {
            "id": delivery.id,
            "job_type": delivery.task,
            "queue": delivery.queue,
            "payload": delivery.raw,
            "content_type": delivery.content_type,
            "failure_info": f"{AttemptKind.INVALID}: {delivery.reason}",
            "headers": {"id": delivery.task_id or str(delivery.id), "task": delivery.task},
        }
        made = connection.execution_options(preserve_rowcount=True).execute(
            _write_dead_letter(dialect), values
        )
        if made.rowcount > 0:
            connection.execute(_note(dialect), {"job_id": delivery.id, "exception": delivery.reason})


def postpone(
    connection: Connection, ids: Sequence[UUID], *, delay: float, limit: float, left: float = 300.0
) -> None:
    """Put back waiting jobs whose task this worker does not know. A worker that knows it collects them.

    Args:
        delay: seconds before they are sent again.
        limit: seconds after which a job whose task nobody knew is failed.
        left: the delay in seconds where a living worker knows the task and draws from the queue.
    """
    dialect = connection.dialect.name
    parameters = batch.id_parameters(dialect, ids) | {"delay": delay, "limit": -limit, "left": left}
    for row in connection.execute(_postpone(dialect), parameters).all():
        if row.state == JobState.FAILED:
            connection.execute(
                _note(dialect), {"job_id": row.id, "exception": "its task is unknown to every worker"}
            )


def collect(
    connection: Connection, *, tasks: Sequence[str], queues: Sequence[str], limit: int
) -> list[Message]:
    """Take up to ``limit`` jobs that other workers put back and whose task is one of ``tasks``.

    They are marked as dispatched. As with any dispatch, commit before the messages are delivered.
    """
    dialect = connection.dialect.name
    parameters = batch.table_parameters(dialect, _TASKS, [{"task": name} for name in tasks], name="known")
    parameters |= batch.table_parameters(dialect, _QUEUES, [{"of": name} for name in queues], name="drawn")
    return [Message(*row) for row in connection.execute(_collect(dialect), parameters | {"most": limit})]


_TASKS: dict[str, Any] = {"task": JOBS.c.job_type.type}
_QUEUES: dict[str, Any] = {"of": JOBS.c.queue.type}


@lru_cache
def _collect(dialect: str) -> Update:
    known = batch.as_table(dialect, _TASKS, name="known")
    drawn = batch.as_table(dialect, _QUEUES, name="drawn")
    chosen = (
        select(JOBS.c.id)
        .where(
            JOBS.c.unknown_since.is_not(None),
            JOBS.c.dispatched.is_(None),
            JOBS.c.line.is_(None),  # it is admitted
            JOBS.c.held.is_(None),  # or who knows the task would take it and put it away, again and again
            JOBS.c.job_type.in_(select(known.c.task)),
            JOBS.c.queue.in_(select(drawn.c.of)),
        )
        .order_by(JOBS.c.priority.desc(), JOBS.c.unknown_since)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(chosen))
        .values(next_attempt_after=now(), dispatched=now(), dispatch_count=JOBS.c.dispatch_count + 1)
        .returning(*MESSAGE_COLUMNS)
    )


@lru_cache
def _write_dead_letter(dialect: str) -> Insert:
    insert_into = insert_of(dialect)
    given = ("id", "job_type", "queue", "payload", "content_type", "failure_info", "headers")
    return (
        insert_into(JOBS)
        .values(
            {name: bindparam(name, type_=JOBS.c[name].type) for name in given}
            | {
                "priority": 0,
                "content_encoding": "binary",
                "queued": now(),
                "next_attempt_after": now(),
                "dispatched": now(),
                "finished": now(),
                "max_tries": 1,
                "state": JobState.FAILED,
            }
        )
        .on_conflict_do_nothing(index_elements=["id"])
    )


@lru_cache
def _postpone(dialect: str) -> Update:
    known = _known_to_others(dialect)
    since = func.coalesce(JOBS.c.unknown_since, now())
    too_long = and_(~known, since <= after(bindparam("limit", type_=Seconds)))
    wait = case((known, bindparam("left", type_=Seconds)), else_=bindparam("delay", type_=Seconds))
    unknown = literal(f"{AttemptKind.INVALID}: its task is unknown to the workers that saw it")
    waiting = (
        batch.id_in(dialect, JOBS.c.id),
        may_enter(JobState.FAILED, of=WAITING, by_id=True),
        JOBS.c.dispatched.is_not(None),
    )
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(in_order(*waiting, skip=True)))
        .values(
            unknown_since=case((known, now()), else_=since),
            state=case((too_long, literal(JobState.FAILED.value)), else_=JOBS.c.state),
            finished=case((too_long, now())),
            next_attempt_after=after(wait),
            dispatched=case((too_long, JOBS.c.dispatched), else_=null()),
            failure_info=case((known, JOBS.c.failure_info), else_=unknown),
        )
        .returning(JOBS.c.id, JOBS.c.state)
    )


def _known_to_others(dialect: str) -> Any:
    """Whether a living worker knows the job's task and draws from its queue."""
    each = func.json_array_elements_text if dialect == "postgresql" else func.json_each
    queue = each(WORKERS.c.queues).table_valued("value", name="queue")
    return (
        exists()
        .where(WORKERS.c.tasks == WORKER_TASKS.c.tasks)
        .where(WORKERS.c.stopped.is_(None), WORKER_TASKS.c.name == JOBS.c.job_type)
        .where(queue.c.value == JOBS.c.queue)
        .correlate(JOBS)
    )


@lru_cache
def _note(dialect: str) -> Insert:
    insert_into = insert_of(dialect)
    reason = bindparam("exception", type_=FAILURES.c.exception.type)
    return (
        insert_into(FAILURES)
        .values(
            job_id=bindparam("job_id", type_=FAILURES.c.job_id.type),
            attempt=0,
            finished=now(),
            kind=AttemptKind.INVALID,
            exception=reason,
        )
        # A job that was replayed and met again keeps one such row.
        .on_conflict_do_update(
            index_elements=["job_id", "attempt"], set_={"finished": now(), "exception": reason}
        )
    )
