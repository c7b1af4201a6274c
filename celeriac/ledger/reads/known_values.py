"""Values that jobs have, for whoever types a filter; each found by one search of an index."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, select

from celeriac.ledger.schema.distinct_values import distinct_values
from celeriac.ledger.schema.models import JOBS, SCHEDULES, WORKERS

#: The columns by the word of a filter, with the condition of the index where it is partial.
_COLUMNS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "task": (JOBS.c.job_type,),
        "queue": (JOBS.c.queue,),
        "user": (JOBS.c.user_id, JOBS.c.user_id.is_not(None)),
    }
)


def known_values(connection: Connection, *, most: int) -> dict[str, list[str]]:
    """At most so many values of each word, in alphabetical order."""
    found = {word: _distinct(connection, *column, most=most) for word, column in _COLUMNS.items()}
    names = select(SCHEDULES.c.name).order_by(SCHEDULES.c.name).limit(most)
    found["schedule"] = list(connection.execute(names).scalars())
    workers = select(WORKERS.c.hostname, WORKERS.c.code_version, WORKERS.c.version)
    rows = connection.execute(workers.order_by(WORKERS.c.heartbeat.desc()).limit(most)).all()
    found["worker"] = sorted({row.hostname for row in rows})
    found["version"] = sorted({each for row in rows for each in row[1:] if each})
    return found


def _distinct(connection: Connection, column: Any, *rows: Any, most: int) -> list[str]:
    walk = distinct_values(column, *rows, most=most)
    values = connection.execute(select(walk.c.value)).scalars()
    return [value for value in values if value is not None]
