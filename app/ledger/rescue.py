"""Rescue: who is dead, and what they held. What becomes of it is recorded as an outcome of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, and_, bindparam, select, update

from app.ledger import batch
from app.ledger.columns import Seconds, after, now
from app.ledger.models import JOBS, WORKERS

#: Attempts of one sweep; the next one goes on.
MOST = 500


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    """A running attempt, and who is meant to run it."""

    id: UUID
    attempt: int
    worker_id: UUID
    cancel_requested: str | None


def dead_workers(connection: Connection, *, silence: float) -> list[UUID]:
    """Workers that did not sign off and have been silent for ``silence`` seconds."""
    return list(connection.execute(_dead(), {"silence": -silence}).scalars())


def held_by(connection: Connection, workers: Sequence[UUID]) -> list[HeldAttempt]:
    """The running attempts of ``workers``, at most ``MOST``."""
    dialect = connection.dialect.name
    return [HeldAttempt(*row) for row in connection.execute(_held_by(dialect), batch.ids(dialect, workers))]


def bury_worker(connection: Connection, worker: UUID, *, silence: float) -> bool:
    """Write that a silent worker is dead; False when it was heard of again or others were first."""
    return bool(connection.execute(_bury(), {"worker": worker, "silence": -silence}).rowcount)


def _silent() -> Any:
    return and_(WORKERS.c.stopped.is_(None), WORKERS.c.heartbeat < after(bindparam("silence", type_=Seconds)))


@lru_cache
def _dead() -> Select[Any]:
    return select(WORKERS.c.id).where(_silent())


@lru_cache
def _bury() -> Update:
    mine = WORKERS.c.id == bindparam("worker", type_=WORKERS.c.id.type)
    return update(WORKERS).where(mine, _silent()).values(stopped=now())


@lru_cache
def _held_by(dialect: str) -> Select[Any]:
    c = JOBS.c
    held = batch.among(dialect, c.worker_id)
    return select(c.id, c.try_count, c.worker_id, c.cancel_requested).where(held).limit(MOST)
