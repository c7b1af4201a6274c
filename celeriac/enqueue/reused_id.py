"""An id or a key that is used again: what becomes of a job whose row exists.

The rule is told in docs/idempotency.md. Nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection

from celeriac.broker import signing
from celeriac.broker.body import uncompressed
from celeriac.errors import BadArgument
from celeriac.headers import task_id
from celeriac.ids import row_id
from celeriac.ledger.schema.lifecycle import GIVEN_UP
from celeriac.ledger.writes import new_jobs as rows
from celeriac.ledger.writes.existing import Existing, existing, renew
from celeriac.ledger.writes.new_jobs import NewJob

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Of a running attempt's request: whether the task's own code is at work, and not what Celery does after it.
RUNS = "celeriac_runs"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who enqueues.

    Attributes:
        resends: whether it is a worker, which sends the messages that parked rows wait for.
        checks: whether other words under an id that exists are refused. Not while Celery sends what follows
            an attempt: a later attempt sends it again, with another result.
        job: whose attempt it is; a later attempt repeats what an earlier one has enqueued.
        chain: the steps of a chain that follow it, the last one first.
    """

    resends: bool = False
    checks: bool = True
    job: UUID | None = None
    chain: Any = None

    @classmethod
    def of(cls, app: Celeriac) -> Caller:
        """Who enqueues in this thread."""
        task = app.current_worker_task
        if task is None or task.request.is_eager:
            return cls(resends=getattr(app, "ledger_thread", None) is not None)
        runs = bool(task.request.__dict__.get(RUNS))
        return cls(resends=True, checks=runs, job=row_id(task.request.id), chain=task.request.chain)


def settle(connection: Connection, jobs: Sequence[NewJob], caller: Caller) -> list[NewJob]:
    """Decide about ``jobs``, whose rows exist; return those whose messages must be sent after the commit.

    Raises:
        BadArgument: an id is used again for something else.
    """
    if not jobs:
        return []
    known = existing(connection, [job.id for job in jobs])
    jobs = [_plain_if_parked(job, known.get(job.id)) for job in jobs]
    # In the order of their ids, or two producers of the same ones would wait for each other in a circle.
    ours = [
        job
        for job in sorted(jobs, key=lambda job: job.id)
        if _is_ours(connection, job, known.get(job.id), caller)
    ]
    return [job for job in ours if job.dispatch_count]


def _plain_if_parked(job: NewJob, row: Existing | None) -> NewJob:
    """``job`` without its key, where it is the message that a row waits for: that has begun long ago."""
    return replace(job, unique=None) if row is not None and row.parked else job


def _is_ours(connection: Connection, job: NewJob, row: Existing | None, caller: Caller) -> bool:
    """Whether the row has the message of ``job`` now, and nobody else sends it."""
    if row is None:  # it was pruned a moment ago
        return bool(rows.enqueue(connection, [job]))
    if row.message_tag == job.message_tag:  # this very call's, whose first answer was lost
        return row.sent
    if job.idempotency_key is not None:
        if row.state in GIVEN_UP:
            renew(connection, job)
        return False
    if row.parked and caller.resends:
        return rows.unpark(connection, job)
    repeats = caller.job is not None and caller.job == row.parent_id
    if caller.checks and not repeats and not _says_the_same(row, job):
        raise BadArgument(
            "task_id",
            f"job {task_id(job.headers, job.id)} exists, of {row.job_type}, and says something else: its "
            "arguments or what follows it differ; an id is of one job, and a signature that was frozen keeps "
            "its id: make a new one, or apply a clone() of the canvas",
        )
    return False


def _says_the_same(row: Existing, job: NewJob) -> bool:
    return row.job_type == job.job_type and _text(row) == _text(job)


def _text(of: Any) -> bytes | None:
    try:
        return signing.text(uncompressed(of), of.content_type)
    except Exception:  # a row of bytes that nobody can read says nothing
        return None
