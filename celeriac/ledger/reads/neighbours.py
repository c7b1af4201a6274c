"""Other users of the same servers: workers that this ledger does not know, jobs of foreign producers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, select

from celeriac.headers import ADOPTED
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.lanes import place_of
from celeriac.ledger.schema.models import JOBS, WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A job whose message came from a producer that does not know the ledger.

    Attributes:
        origin: the process that sent it, as Celery writes it; None when it does not say.
    """

    task: str
    origin: str | None
    queued: datetime


def known_workers(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of ``ids`` that have signed on to this ledger and were not pruned."""
    dialect = connection.dialect.name
    query = select(WORKERS.c.id).where(batch.id_in(dialect, WORKERS.c.id))
    return {row.id for row in connection.execute(query, batch.id_parameters(dialect, ids))}


def known_jobs(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of ``ids`` that have a row."""
    dialect = connection.dialect.name
    query = select(JOBS.c.id).where(batch.id_in(dialect, JOBS.c.id))
    return {row.id for row in connection.execute(query, batch.id_parameters(dialect, ids))}


def adopted(connection: Connection, lists: Iterable[str], *, within: timedelta, limit: int) -> list[Adopted]:
    """The newest adopted jobs, at most ``limit`` of them, among the newest ``limit`` jobs of each list."""
    since = select(after(-within.total_seconds())).scalar_subquery()
    found: list[Adopted] = []
    for queue in lists:
        newest = (
            select(JOBS.c.job_type, JOBS.c.headers, JOBS.c.queued)
            .where(JOBS.c.queue == queue, JOBS.c.queued >= since)
            .order_by(JOBS.c.queued.desc())
            .limit(limit)
            .subquery()
        )
        query = select(newest)
        if place_of(queue).level is not None:  # an older version left others where they came from
            query = query.where(newest.c.headers[ADOPTED].as_boolean().is_(True))
        found += [
            Adopted(task=row.job_type, origin=_origin(row.headers), queued=row.queued)
            for row in connection.execute(query)
        ]
    return sorted(found, key=lambda each: each.queued, reverse=True)[:limit]


def _origin(headers: object) -> str | None:
    found = headers.get("origin") if isinstance(headers, dict) else None
    return None if found is None else str(found)
