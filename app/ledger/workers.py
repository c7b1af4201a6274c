"""The workers' rows: one per start of a main process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, insert, update

from app.ledger.columns import now
from app.ledger.models import WORKERS

_workers = WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStart:
    id: UUID
    hostname: str
    pid: int
    pool: str
    concurrency: int
    queues: Sequence[str]
    tasks: str  # hash of the names of the tasks it knows
    version: str


def sign_on(connection: Connection, start: WorkerStart) -> None:
    """Write the row of a worker that starts."""
    values = {
        "id": start.id,
        "hostname": start.hostname,
        "pid": start.pid,
        "pool": start.pool,
        "concurrency": start.concurrency,
        "queues": list(start.queues),
        "tasks": start.tasks,
        "version": start.version,
    }
    connection.execute(insert(_workers).values(**values, started=now(), heartbeat=now()))


def beat(connection: Connection, worker: UUID) -> bool:
    """Write that a worker lives; False when others had declared it dead."""
    mine = update(_workers).where(_workers.c.id == worker)
    if connection.execute(mine.where(_workers.c.stopped.is_(None)).values(heartbeat=now())).rowcount:
        return True
    connection.execute(mine.values(heartbeat=now(), stopped=None))
    return False


def sign_off(connection: Connection, worker: UUID) -> None:
    """Write that a worker ended by itself."""
    connection.execute(update(_workers).where(_workers.c.id == worker).values(heartbeat=now(), stopped=now()))
