"""The jobs of one workflow: a chain, a group, a chord, or what a job has enqueued."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, func, select, union

from celeriac.ledger.schema.models import JOBS


def others(connection: Connection, root: UUID, group: UUID | None, *, limit: int) -> list[Row[Any]]:
    """Jobs whose workflow began with ``root``, and those of a group or chord; but for ``root`` itself.

    Of both, those that ended first come first: so many are read.
    """
    columns = (JOBS.c.id, JOBS.c.job_type, JOBS.c.state, JOBS.c.queued, JOBS.c.group_id, JOBS.c.parent_id)
    found: dict[UUID, Row[Any]] = {}
    for mine in _ways(root, group):
        query = select(*columns).where(*mine).order_by(JOBS.c.finished).limit(limit)
        found |= {row.id: row for row in connection.execute(query)}
    return list(found.values())


def counts(connection: Connection, root: UUID, group: UUID | None, *, most: int) -> dict[str, int]:
    """How many of them are in which state, of at most so many of each sort."""
    ways = [
        select(select(JOBS.c.id, JOBS.c.state).where(*mine).limit(most).subquery())
        for mine in _ways(root, group)
    ]
    every = union(*ways).subquery()
    grouped = select(every.c.state, func.count()).group_by(every.c.state).order_by(every.c.state)
    return {str(row[0]): int(row[1]) for row in connection.execute(grouped)}


def _ways(root: UUID, group: UUID | None) -> list[tuple[ColumnElement[bool], ...]]:
    """Each is served by an index of its own; both in one condition would be by none.

    Members of a group that no job enqueued have no root in common.
    """
    began_with = (JOBS.c.root_id == root, JOBS.c.root_id != JOBS.c.id)
    return [began_with] if group is None else [began_with, (JOBS.c.group_id == group, JOBS.c.id != root)]
