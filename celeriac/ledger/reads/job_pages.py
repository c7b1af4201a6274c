"""Lists of jobs, a page at a time. Each page begins after a key, so that a late page costs no more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal, select, tuple_

from celeriac.ledger.reads.job_rows import Filter, with_instants
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_in, is_waiting

#: Characters of a failure that a list shows.
_ERROR = 300


class Sort(StrEnum):
    """In which order jobs are listed."""

    NEWEST = "newest"
    OLDEST = "oldest"
    DUE = "due"  # waiting jobs, the earliest due first
    LONGEST = "longest"  # running jobs, the earliest started first
    FINISHED = "finished"  # ended jobs, the last ended first


@dataclass(frozen=True, slots=True)
class _Order:
    moment: Any
    newest_first: bool
    only: ColumnElement[bool] | None


_ORDERS = {
    Sort.NEWEST: _Order(JOBS.c.queued, True, None),
    Sort.OLDEST: _Order(JOBS.c.queued, False, None),
    Sort.DUE: _Order(JOBS.c.next_attempt_after, False, is_waiting()),
    Sort.LONGEST: _Order(JOBS.c.started, False, JOBS.c.worker_id.is_not(None)),
    Sort.FINISHED: _Order(JOBS.c.finished, True, JOBS.c.finished.is_not(None)),
}

#: Columns of a list. Payload, headers and result are left out because they may be large.
_SHOWN: tuple[Any, ...] = (
    JOBS.c.id,
    JOBS.c.job_type,
    JOBS.c.state,
    JOBS.c.queue,
    JOBS.c.priority,
    JOBS.c.user_id,
    JOBS.c.schedule,
    JOBS.c.queued,
    JOBS.c.next_attempt_after,
    JOBS.c.dispatched,
    JOBS.c.started,
    JOBS.c.finished,
    JOBS.c.try_count,
    JOBS.c.max_tries,
    JOBS.c.cancel_requested,
    JOBS.c.worker_id,
    JOBS.c.last_worker_id,
    func.substr(JOBS.c.failure_info, 1, _ERROR).label("error"),
    # as Celery's events show them, with what is sensitive hidden
    func.substr(JOBS.c.headers["argsrepr"].as_string(), 1, _ERROR).label("args"),
    func.substr(JOBS.c.headers["kwargsrepr"].as_string(), 1, _ERROR).label("kwargs"),
    JOBS.c.headers["id"].as_string().label("task_id"),
    now().label("clock"),
)


def page(
    connection: Connection,
    wanted: Filter,
    *,
    sort: Sort = Sort.NEWEST,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    whole: bool = False,
) -> list[Row[Any]]:
    """Up to ``limit`` jobs.

    Args:
        after: only jobs after this key: the value by which ``sort`` orders, and the id.
        whole: return every column, instead of the columns of a list and the database's ``clock``.
    """
    wanted = with_instants(connection, wanted)
    return list(connection.execute(statement(wanted, sort=sort, limit=limit, after=after, whole=whole)))


def statement(
    wanted: Filter,
    *,
    sort: Sort = Sort.NEWEST,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    whole: bool = False,
) -> Select[Any]:
    """The query of ``page``."""
    order = _ORDERS[sort]
    chosen = (select(JOBS) if whole else select(*_SHOWN)).where(*wanted.conditions())
    if order.only is not None:
        chosen = chosen.where(order.only)
    if after is not None:
        here = tuple_(order.moment, JOBS.c.id)
        key = tuple_(literal(after[0], order.moment.type), literal(after[1], JOBS.c.id.type))
        chosen = chosen.where(here < key if order.newest_first else here > key)
    keys: Sequence[Any] = (order.moment, JOBS.c.id)
    return chosen.order_by(*(key.desc() if order.newest_first else key for key in keys)).limit(limit)


def count(
    connection: Connection, wanted: Filter, *, most: int, states: Collection[JobState] | None = None
) -> int:
    """How many jobs match, counted up to ``most``, so that it costs no more in a large table.

    Args:
        states: only jobs that are in one of these.
    """
    conditions = with_instants(connection, wanted).conditions()
    only = [] if states is None else [is_in(*states)]
    found = select(JOBS.c.id).where(*conditions, *only).limit(most).subquery()
    return int(connection.execute(select(func.count()).select_from(found)).scalar_one())


def moment_of(row: Row[Any], sort: Sort) -> datetime:
    """The value by which ``sort`` orders; with the id it is the key after which the next page begins."""
    moment: datetime = row._mapping[_ORDERS[sort].moment.name]
    return moment
