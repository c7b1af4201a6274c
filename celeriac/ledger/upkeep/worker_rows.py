"""The workers' rows: one per start of a main process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, select, update

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import after, insert_of, now
from celeriac.ledger.schema.models import JOBS, WORKER_TASKS, WORKERS
from celeriac.names import NAME_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStart:
    id: UUID
    hostname: str
    pid: int
    pool: str
    concurrency: int
    queues: Sequence[str]
    tasks: str  # hash of the names of the tasks it knows
    version: str  # of Celeriac
    names: Sequence[str] = ()  # of these tasks
    code_version: str | None = None  # of the team's code; None: not said


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A worker, as in its row."""

    id: UUID
    hostname: str
    pid: int
    pool: str
    concurrency: int
    queues: Sequence[str]
    version: str  # of Celeriac
    code_version: str | None = None  # of the team's code; None: not said
    started: datetime
    heartbeat: datetime
    stopped: datetime | None
    silent: timedelta  # since its last heartbeat, on the database's clock
    running: int  # jobs that it holds


@dataclass(frozen=True, slots=True)
class WorkerName:
    """What people call a worker; None: it has no row, or there is none."""

    host: str | None  # Celery's node name
    version: str | None  # of Celeriac
    code_version: str | None  # of the team's code; None also: not said


NO_WORKER = WorkerName(None, None, None)


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """An attempt that a worker runs."""

    worker_id: UUID
    id: UUID
    task: str
    attempt: int
    since: timedelta  # how long it has been running, on the database's clock


def sign_on(connection: Connection, start: WorkerStart) -> None:
    """Write the row of a worker that starts, or that lives although its row is gone or says that it ended."""
    values = {
        "id": start.id,
        "hostname": start.hostname,
        "pid": start.pid,
        "pool": start.pool,
        "concurrency": start.concurrency,
        "queues": list(start.queues),
        "tasks": start.tasks,
        "version": start.version,
        "code_version": start.code_version,
    }
    into = insert_of(connection.dialect.name)
    row = into(WORKERS).values(**values, started=now(), heartbeat=now())
    alive = {"heartbeat": now(), "stopped": None}
    connection.execute(row.on_conflict_do_update(index_elements=["id"], set_=alive))
    known = [{"tasks": start.tasks, "name": name} for name in start.names if len(name) <= NAME_LENGTH]
    if known:
        connection.execute(into(WORKER_TASKS).on_conflict_do_nothing(), known)


def beat(connection: Connection, worker: UUID) -> bool:
    """Write a worker's heartbeat; False when its row says that it ended, or is gone.

    The worker must sign on again then. The database may have been restored to older data.
    """
    mine = update(WORKERS).where(WORKERS.c.id == worker, WORKERS.c.stopped.is_(None))
    return bool(connection.execute(mine.values(heartbeat=now())).rowcount)


def write_queues(connection: Connection, worker: UUID, queues: Sequence[str]) -> None:
    """Write what a worker draws from now: remote control has added or taken away a queue."""
    connection.execute(update(WORKERS).where(WORKERS.c.id == worker).values(queues=list(queues)))


def seen(connection: Connection, *, within: timedelta) -> list[WorkerSeen]:
    """The workers whose last heartbeat is not older than ``within``, by name."""
    since = select(after(-within.total_seconds())).scalar_subquery()
    shown = (
        WORKERS.c.id,
        WORKERS.c.hostname,
        WORKERS.c.pid,
        WORKERS.c.pool,
        WORKERS.c.concurrency,
        WORKERS.c.queues,
        WORKERS.c.version,
        WORKERS.c.code_version,
        WORKERS.c.started,
        WORKERS.c.heartbeat,
    )
    held = (
        select(JOBS.c.worker_id, func.count().label("jobs"))
        .where(JOBS.c.worker_id.is_not(None))
        .group_by(JOBS.c.worker_id)
        .subquery()
    )
    found = (
        select(
            *shown, WORKERS.c.stopped, func.coalesce(held.c.jobs, 0).label("running"), now().label("clock")
        )
        .join_from(WORKERS, held, held.c.worker_id == WORKERS.c.id, isouter=True)
        .where(WORKERS.c.heartbeat >= since)
        .order_by(WORKERS.c.hostname, WORKERS.c.started)
    )
    return [_seen(**row._mapping) for row in connection.execute(found)]


def names(connection: Connection, ids: Collection[UUID]) -> dict[UUID, WorkerName]:
    """The names and versions of workers; one whose row is pruned is missing."""
    if not ids:
        return {}
    dialect = connection.dialect.name
    shown = select(WORKERS.c.id, WORKERS.c.hostname, WORKERS.c.version, WORKERS.c.code_version)
    asked = shown.where(batch.id_in(dialect, WORKERS.c.id))
    found = connection.execute(asked, batch.id_parameters(dialect, sorted(ids)))
    return {row.id: WorkerName(row.hostname, row.version, row.code_version) for row in found}


def tasks_of_the_living(connection: Connection, *, within: timedelta, name: str | None = None) -> set[str]:
    """The tasks that workers know, with a heartbeat ``within`` the span; of these only ``name``, if given."""
    since = select(after(-within.total_seconds())).scalar_subquery()
    found = (
        select(WORKER_TASKS.c.name)
        .join(WORKERS, WORKERS.c.tasks == WORKER_TASKS.c.tasks)
        .where(WORKERS.c.heartbeat >= since, WORKERS.c.stopped.is_(None))
        .distinct()
    )
    if name is not None:
        found = found.where(WORKER_TASKS.c.name == name)
    return set(connection.execute(found).scalars())


def attempts_of(connection: Connection, ids: Collection[UUID], *, limit: int) -> list[RunningAttempt]:
    """The attempts that these workers run, the longest first; at most ``limit``."""
    if not ids:
        return []
    dialect = connection.dialect.name
    held = (
        select(
            JOBS.c.worker_id,
            JOBS.c.id,
            JOBS.c.job_type,
            JOBS.c.try_count,
            JOBS.c.started,
            now().label("clock"),
        )
        .where(batch.id_in(dialect, JOBS.c.worker_id))
        .order_by(JOBS.c.started, JOBS.c.id)
        .limit(limit)
    )
    found = connection.execute(held, batch.id_parameters(dialect, sorted(ids)))
    return [
        RunningAttempt(holder, job, task, tries, at - began) for holder, job, task, tries, began, at in found
    ]


def _seen(*, clock: datetime, **row: Any) -> WorkerSeen:
    return WorkerSeen(**row, silent=clock - row["heartbeat"])


def write_trouble(connection: Connection, worker: UUID, trouble: str | None) -> None:
    """Write the reason why a worker cannot record outcomes; None: it can."""
    connection.execute(update(WORKERS).where(WORKERS.c.id == worker).values(trouble=trouble))


def troubled(connection: Connection, *, within: timedelta) -> list[tuple[str, str]]:
    """Living workers that cannot record outcomes, with a heartbeat ``within`` the span: name and reason."""
    since = select(after(-within.total_seconds())).scalar_subquery()
    living = and_(WORKERS.c.heartbeat >= since, WORKERS.c.stopped.is_(None), WORKERS.c.trouble.is_not(None))
    found = connection.execute(
        select(WORKERS.c.hostname, WORKERS.c.trouble).where(living).order_by(WORKERS.c.hostname)
    )
    return [(row.hostname, row.trouble) for row in found]


def sign_off(connection: Connection, worker: UUID) -> None:
    """Write that a worker ended in an orderly way."""
    connection.execute(update(WORKERS).where(WORKERS.c.id == worker).values(heartbeat=now(), stopped=now()))
