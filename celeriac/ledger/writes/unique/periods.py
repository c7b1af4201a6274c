"""Unique keys that are held for a time: rows of their own, since no index knows what time it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Delete,
    Insert,
    Select,
    Update,
    bindparam,
    delete,
    exists,
    literal,
    or_,
    select,
    update,
)

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import PARKED, Instant, Seconds, after, insert_of, now
from celeriac.ledger.schema.limit_tables import UNIQUE_KEYS
from celeriac.ledger.schema.models import JOBS


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key that a job wants for so many seconds."""

    key: str
    job: UUID
    seconds: float


def take_periods(connection: Connection, wanted: Sequence[Wanted]) -> dict[str, UUID]:
    """Take the keys that are free; return whose each key is now. One that is missing was pruned meanwhile.

    A key is free when its time is over, when its job is gone, and when its job has replaced itself by others,
    which may want the key for themselves.
    """
    if not wanted:
        return {}
    dialect = connection.dialect.name
    rows = [{"key": each.key, "job": each.job, "seconds": each.seconds} for each in wanted]
    parameters = batch.table_parameters(dialect, _WANTED, sorted(rows, key=lambda row: str(row["key"])))
    keys = batch.text_parameters(dialect, [each.key for each in wanted])
    connection.execute(_insert(dialect), parameters)
    connection.execute(_take_over(dialect), parameters | keys)
    return {row.key: row.job for row in connection.execute(_whose(dialect), keys)}


def held_until(connection: Connection, key: str, job: UUID) -> datetime | None:
    """Until when ``job`` has the key; None: its time is over, or it is another's."""
    c = UNIQUE_KEYS.c
    found = select(c.until).where(c.key == key, c.job == job, c.until > now())
    until: datetime | None = connection.execute(found).scalar()
    return until


def forget(connection: Connection, *, limit: int) -> int:
    """Delete up to ``limit`` keys whose time is over."""
    return connection.execute(_forget(), {"most": limit}).rowcount


_WANTED: Mapping[str, Any] = {
    "key": UNIQUE_KEYS.c.key.type,
    "job": UNIQUE_KEYS.c.job.type,
    "seconds": Seconds(),
}


@lru_cache
def _insert(dialect: str) -> Insert:
    given = batch.as_table(dialect, _WANTED)
    # In the order of the keys, as all do: two that took them in different orders would wait in a circle.
    chosen = (
        select(given.c.key, given.c.job, after(given.c.seconds)).where(literal(True)).order_by(given.c.key)
    )
    insert = insert_of(dialect)
    made = insert(UNIQUE_KEYS).from_select(["key", "job", "until"], chosen)
    return made.on_conflict_do_nothing(index_elements=["key"])


@lru_cache
def _take_over(dialect: str) -> Update:
    given = batch.as_table(dialect, _WANTED)
    found, holder = UNIQUE_KEYS.alias("found"), JOBS.alias("holder").c
    stays = or_(holder.finished.is_not(None), holder.next_attempt_after < literal(PARKED, Instant))
    has_job = exists().where(holder.id == found.c.job, stays).correlate(found)
    free = (  # locked only if it is: who merely finds a key taken holds nobody up
        select(found.c.key)
        .where(batch.text_in(dialect, found.c.key), or_(found.c.until <= now(), ~has_job))
        .order_by(found.c.key)
        .with_for_update(of=found)
    )
    c = UNIQUE_KEYS.c
    changed = {"job": given.c.job, "until": after(given.c.seconds)}
    return update(UNIQUE_KEYS).where(c.key == given.c.key, c.key.in_(free)).values(changed)


@lru_cache
def _whose(dialect: str) -> Select[Any]:
    c = UNIQUE_KEYS.c
    return select(c.key, c.job).where(batch.text_in(dialect, c.key))


@lru_cache
def _forget() -> Delete:
    c = UNIQUE_KEYS.c
    over = select(c.key).where(c.until <= now()).order_by(c.until).limit(bindparam("most"))
    return delete(UNIQUE_KEYS).where(c.key.in_(over.with_for_update(skip_locked=True)))
