"""Rescue: who is dead, and what they held. What becomes of it is recorded as an outcome of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, and_, bindparam, exists, or_, select, update

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Seconds, after, now
from celeriac.ledger.schema.lifecycle import TERMINAL
from celeriac.ledger.schema.models import JOBS, WORKERS

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
    """Workers that have been silent for ``silence`` seconds and were not buried yet, or hold jobs again.

    A worker that was frozen, buried and thawed may claim before it learns that it is dead.
    """
    return list(connection.execute(_dead_ones(), {"silence": -silence}).scalars())


def bury_worker(connection: Connection, worker: UUID, *, silence: float) -> bool:
    """Write that a silent worker is dead; False when it was heard of again or others were first.

    To be followed, in the same transaction, by the rescue of what it held.
    """
    return bool(connection.execute(_bury(), {"worker": worker, "silence": -silence}).rowcount)


def held_by(connection: Connection, workers: Sequence[UUID]) -> list[HeldAttempt]:
    """The running attempts of ``workers``, at most ``MOST``."""
    dialect = connection.dialect.name
    return [HeldAttempt(*row) for row in connection.execute(_held_by(dialect), batch.ids(dialect, workers))]


def unfinished(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these jobs are still to be done, by whomever."""
    dialect = connection.dialect.name
    return set(connection.execute(_unfinished(dialect), batch.ids(dialect, ids)).scalars())


def _dead() -> Any:
    long_ago = after(bindparam("silence", type_=Seconds))
    holds = exists().where(JOBS.c.worker_id == WORKERS.c.id)
    again = and_(WORKERS.c.stopped < long_ago, holds)
    return and_(WORKERS.c.heartbeat < long_ago, or_(WORKERS.c.stopped.is_(None), again))


@lru_cache
def _dead_ones() -> Select[Any]:
    return select(WORKERS.c.id).where(_dead())


@lru_cache
def _bury() -> Update:
    mine = WORKERS.c.id == bindparam("worker", type_=WORKERS.c.id.type)
    return update(WORKERS).where(mine, _dead()).values(stopped=now())


@lru_cache
def _held_by(dialect: str) -> Select[Any]:
    c = JOBS.c
    held = batch.among(dialect, c.worker_id)
    return select(c.id, c.try_count, c.worker_id, c.cancel_requested).where(held).limit(MOST)


@lru_cache
def _unfinished(dialect: str) -> Select[Any]:
    c = JOBS.c
    return select(c.id).where(batch.among(dialect, c.id), c.state.not_in(sorted(TERMINAL)))
