"""Rescue: declare workers dead and find what they held. The rescuer records outcomes in their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Select,
    Update,
    and_,
    bindparam,
    cast,
    exists,
    null,
    or_,
    select,
    union_all,
    update,
)

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Instant, now
from celeriac.ledger.schema.distinct_values import distinct_values
from celeriac.ledger.schema.models import JOBS, WORKERS
from celeriac.ledger.schema.state_conditions import is_unfinished

#: Attempts that one query returns.
MOST = 500


@dataclass(frozen=True, slots=True)
class Sighting:
    """A worker's row at one time.

    Attributes:
        heartbeat: None of a worker that has no row.
        stopped: when it signed off or was declared dead; None: neither.
    """

    worker: UUID
    heartbeat: datetime | None
    stopped: datetime | None


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    """A running attempt and the worker that holds it."""

    id: UUID
    attempt: int
    worker_id: UUID
    cancel_requested: str | None


def sightings(connection: Connection) -> list[Sighting]:
    """The workers that may be dead: those that did not sign off, and those that hold jobs although they did.

    A frozen worker that was declared dead may claim again before it notices. A worker that holds jobs and has
    no row is left when the database was restored to older data.
    """
    return [Sighting(*row) for row in connection.execute(_sightings())]


def declare_dead(connection: Connection, seen: Sighting) -> bool:
    """Write that a worker is dead; False when its row changed since it was ``seen``.

    The rescue of its jobs must follow in the same transaction.
    """
    if seen.heartbeat is None:
        return connection.execute(_row(), {"worker": seen.worker}).first() is None
    parameters = {
        "worker": seen.worker,
        "seen_heartbeat": seen.heartbeat,
        "seen_stopped": seen.stopped,
    }
    return bool(connection.execute(_declare_dead(), parameters).rowcount)


def held_by(connection: Connection, workers: Sequence[UUID]) -> list[HeldAttempt]:
    """The running attempts of ``workers``, at most ``MOST``."""
    dialect = connection.dialect.name
    return [
        HeldAttempt(*row)
        for row in connection.execute(_held_by(dialect), batch.id_parameters(dialect, workers))
    ]


def task_ids(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """The Celery task ids of these jobs, of which their keys in the result store are made."""
    dialect = connection.dialect.name
    rows = connection.execute(_task_ids(dialect), batch.id_parameters(dialect, ids))
    return {row.id: row.task_id or str(row.id) for row in rows}


def unfinished(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these jobs are not terminal."""
    dialect = connection.dialect.name
    return set(connection.execute(_unfinished(dialect), batch.id_parameters(dialect, ids)).scalars())


@lru_cache
def _sightings() -> CompoundSelect[Any]:
    holds = exists().where(JOBS.c.worker_id == WORKERS.c.id)
    known = select(WORKERS.c.id, WORKERS.c.heartbeat, WORKERS.c.stopped).where(
        or_(WORKERS.c.stopped.is_(None), holds)
    )
    holder = distinct_values(JOBS.c.worker_id)
    never = cast(null(), Instant)
    without_row = select(holder.c.value, never, never).where(
        holder.c.value.is_not(None), ~exists().where(WORKERS.c.id == holder.c.value)
    )
    return union_all(known, without_row)


@lru_cache
def _row() -> Select[Any]:
    return select(WORKERS.c.id).where(WORKERS.c.id == _worker())


@lru_cache
def _declare_dead() -> Update:
    stopped: Any = bindparam("seen_stopped", type_=Instant)
    same = or_(WORKERS.c.stopped == stopped, and_(WORKERS.c.stopped.is_(None), stopped.is_(None)))
    heartbeat = WORKERS.c.heartbeat == bindparam("seen_heartbeat", type_=Instant)
    return update(WORKERS).where(WORKERS.c.id == _worker(), heartbeat, same).values(stopped=now())


def _worker() -> Any:
    return bindparam("worker", type_=WORKERS.c.id.type)


@lru_cache
def _held_by(dialect: str) -> Select[Any]:
    held = batch.id_in(dialect, JOBS.c.worker_id)
    return (
        select(JOBS.c.id, JOBS.c.try_count, JOBS.c.worker_id, JOBS.c.cancel_requested).where(held).limit(MOST)
    )


@lru_cache
def _task_ids(dialect: str) -> Select[Any]:
    text = JOBS.c.headers["id"].as_string().label("task_id")
    return select(JOBS.c.id, text).where(batch.id_in(dialect, JOBS.c.id))


@lru_cache
def _unfinished(dialect: str) -> Select[Any]:
    return select(JOBS.c.id).where(batch.id_in(dialect, JOBS.c.id), is_unfinished())
