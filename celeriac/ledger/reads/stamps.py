"""Find jobs by the stamps of their messages, for Celery's revoke by stamped headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, select

from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_unfinished


def stamped(
    connection: Connection, wanted: Mapping[str, Sequence[Any]], *, limit: int, beyond: UUID | None = None
) -> tuple[list[UUID], UUID | None]:
    """Those among the next ``limit`` unfinished jobs with stamps that have one of the ``wanted`` ones.

    Returns:
        Their ids, and the id of the last job that was read, after which to go on; None at the end.
    """
    parameters = {"beyond": beyond or UUID(int=0), "most": limit}
    rows = connection.execute(_stamped(), parameters).all()
    found = [row.id for row in rows if _has_one(row.names, row.stamps, wanted)]
    return found, rows[-1].id if rows else None


def _has_one(names: Any, stamps: Any, wanted: Mapping[str, Sequence[Any]]) -> bool:
    """Decide as Celery's worker does for a message (celery.worker.request.Request.revoked)."""
    for name in names if isinstance(stamps, dict) and isinstance(names, list) else ():
        found = stamps.get(name)
        values = found if isinstance(found, list) else [found]
        if any(value is not None and value in wanted.get(name, ()) for value in values):
            return True
    return False


@lru_cache
def _stamped() -> Select[Any]:
    names = JOBS.c.headers["stamped_headers"]
    return (
        select(JOBS.c.id, names.label("names"), JOBS.c.headers["stamps"].label("stamps"))
        .where(
            JOBS.c.id > bindparam("beyond", type_=JOBS.c.id.type),
            is_unfinished(),
            names.as_string().is_not(None),
        )
        .order_by(JOBS.c.id)
        .limit(bindparam("most"))
    )
