"""The row of one job, for a ``.delay()`` on PostgreSQL: compiled statements, which are quicker.

A job that is due at once and takes nothing of limits, as most do, has a short statement: what is null is not
sent, and the server computes less.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, cast, literal_column, select
from sqlalchemy.pool import PoolProxiedConnection

from celeriac.ledger.connection.compiled_statement import CompiledStatement
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.one_trip import change
from celeriac.ledger.schema.columns import Instant, insert_of, now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes import new_jobs
from celeriac.ledger.writes.new_jobs import COPIED, IN_LINE, NewJob

#: Columns that are null in most rows.
_OPTIONAL = ("timeout", "user_id", "idempotency_key", "schedule", "root_id", "parent_id", "group_id")
_NEEDED = tuple(name for name in COPIED if name not in _OPTIONAL)

_encode = json.JSONEncoder(check_circular=False).encode


def enqueue_one(
    pooled: PoolProxiedConnection,
    database: Database,
    job: NewJob,
    *,
    deadline: datetime,
    meanwhile: Callable[[], object],
) -> bool:
    """As ``new_jobs.enqueue``, for one job; return whether it is new. Not for a unique job.

    Args:
        meanwhile: what is to be done while the server works: see ``one_trip.change``.
    """
    statement, values = _short(job) if _is_short(job) else _whole(job)
    values["new_headers"] = job.headers_text or _encode(dict(job.headers))
    values["deadline"] = deadline
    return bool(change(pooled, database, statement, values, meanwhile=meanwhile))


def exists(driver: Any, job: UUID, *, schema: str | None) -> bool:
    """Whether there is a row of that id."""
    return _exists().run(driver, {"job": job}, schema=schema).fetchone() is not None


def _is_short(job: NewJob) -> bool:
    return job.due_at_once and not (job.permits or job.fair or job.has_expiry)


def _short(job: NewJob) -> tuple[CompiledStatement, dict[str, Any]]:
    given = tuple(name for name in _OPTIONAL if getattr(job, name) is not None)
    values = {f"new_{name}": getattr(job, name) for name in (*_NEEDED, *given)}
    return _due_now(given, job.dispatch_count), values


def _whole(job: NewJob) -> tuple[CompiledStatement, dict[str, Any]]:
    fair, more = job.fair is not None, IN_LINE if job.permits else ()
    return _any_job(more, fair), new_jobs.parameters(job) | new_jobs.more_parameters(job, more, fair)


@cache
def _any_job(more: tuple[str, ...], fair: bool) -> CompiledStatement:
    return CompiledStatement(new_jobs.insert("postgresql", True, more, fair))


@cache
def _due_now(given: tuple[str, ...], dispatch_count: int) -> CompiledStatement:
    """For a job that is due now, with a message that leaves now if ``dispatch_count`` is 1."""
    names = (*_NEEDED, *given)
    columns: dict[str, Any] = {
        name: cast(bindparam(f"new_{name}", type_=JOBS.c[name].type), JOBS.c[name].type) for name in names
    }
    columns |= {"queued": now(), "next_attempt_after": now()}
    if dispatch_count:
        columns["dispatched"] = now()
    columns |= {
        "dispatch_count": literal_column(str(int(dispatch_count))),
        "state": literal_column(f"'{JobState.PENDING.value}'"),
        "try_count": literal_column("0"),
    }
    chosen = select(*columns.values()).where(now() <= bindparam("deadline", type_=Instant))
    insert = insert_of("postgresql")(JOBS).from_select(tuple(columns), chosen)
    return CompiledStatement(insert.on_conflict_do_nothing(index_elements=["id"]))


@cache
def _exists() -> CompiledStatement:
    return CompiledStatement(
        select(literal_column("1")).where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type))
    )
