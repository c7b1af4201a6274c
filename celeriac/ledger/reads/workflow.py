"""The jobs of one workflow: a chain, a group, a chord, or what a job has enqueued."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select

from celeriac.ledger.schema.models import JOBS


def of_root(connection: Connection, root: UUID, *, limit: int) -> list[Row[Any]]:
    """Jobs whose workflow began with that one, but for itself: those that ended first come first."""
    columns = (JOBS.c.id, JOBS.c.job_type, JOBS.c.state, JOBS.c.queued, JOBS.c.group_id, JOBS.c.parent_id)
    mine = JOBS.c.root_id == root, JOBS.c.root_id != JOBS.c.id
    return list(connection.execute(select(*columns).where(*mine).order_by(JOBS.c.finished).limit(limit)))


def counts(connection: Connection, root: UUID, *, most: int) -> dict[str, int]:
    """How many of them are in which state, of at most so many."""
    mine = (
        select(JOBS.c.state).where(JOBS.c.root_id == root, JOBS.c.root_id != JOBS.c.id).limit(most).subquery()
    )
    grouped = select(mine.c.state, func.count()).group_by(mine.c.state).order_by(mine.c.state)
    return dict(connection.execute(grouped).tuples().all())
