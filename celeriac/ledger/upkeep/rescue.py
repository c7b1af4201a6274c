"""Rescue: who is dead, and what they held. What becomes of it is recorded as an outcome of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
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
from celeriac.ledger.schema.models import JOBS, WORKERS
from celeriac.ledger.schema.state_conditions import is_unfinished

#: Attempts of one sweep; the next one goes on.
MOST = 500


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a worker's row says at one look.

    Attributes:
        heartbeat: None of a worker that has no row.
        stopped: when it was buried or signed off; None of one that lives, or died without a word.
    """

    worker: UUID
    heartbeat: datetime | None
    stopped: datetime | None


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    """A running attempt, and who is meant to run it."""

    id: UUID
    attempt: int
    worker_id: UUID
    cancel_requested: str | None


def sightings(connection: Connection) -> list[Sighting]:
    """The workers that may be dead: those that did not sign off, and those that hold jobs all the same.

    A worker that was frozen, buried and thawed may claim before it learns that it is dead. One that holds
    jobs and has no row is of a database that was restored to older data.
    """
    return [Sighting(*row) for row in connection.execute(_sightings())]


def declare_dead(connection: Connection, seen: Sighting) -> bool:
    """Write that a worker is dead; False when it was heard of since it was ``seen``, or others were first.

    To be followed, in the same transaction, by the rescue of what it held.
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


def unfinished(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these jobs are still to be done, by whomever."""
    dialect = connection.dialect.name
    return set(connection.execute(_unfinished(dialect), batch.id_parameters(dialect, ids)).scalars())


@lru_cache
def _sightings() -> CompoundSelect[Any]:
    holds = exists().where(JOBS.c.worker_id == WORKERS.c.id)
    known = select(WORKERS.c.id, WORKERS.c.heartbeat, WORKERS.c.stopped).where(
        or_(WORKERS.c.stopped.is_(None), holds)
    )
    holder = _holders()
    never = cast(null(), Instant)
    without_row = select(holder.c.worker, never, never).where(
        holder.c.worker.is_not(None), ~exists().where(WORKERS.c.id == holder.c.worker)
    )
    return union_all(known, without_row)


def _holders() -> CTE:
    """Who holds jobs, each found by one search of the index. The last is null."""
    first = select(_next_holder().label("worker")).cte("holder", recursive=True)
    following = _next_holder(first.c.worker).label("worker")
    return first.union_all(select(following).where(first.c.worker.is_not(None)))


def _next_holder(before: ColumnElement[UUID] | None = None) -> Any:
    c = JOBS.c.worker_id
    found = select(c).where(c.is_not(None), *([] if before is None else [c > before]))
    return found.order_by(c).limit(1).scalar_subquery()


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
def _unfinished(dialect: str) -> Select[Any]:
    return select(JOBS.c.id).where(batch.id_in(dialect, JOBS.c.id), is_unfinished())
