"""Lists of jobs, a page at a time. Each page begins after a key, so that a late page costs no more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    func,
    literal,
    select,
    true,
    tuple_,
    union_all,
)

from celeriac.ledger.reads.job_filter import Filter, settled
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS, WORKERS
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

    def keys(self) -> list[Any]:
        """By what it orders."""
        return [key.desc() if self.newest_first else key for key in (self.moment, JOBS.c.id)]


_ORDERS = {
    Sort.NEWEST: _Order(JOBS.c.queued, True, None),
    Sort.OLDEST: _Order(JOBS.c.queued, False, None),
    Sort.DUE: _Order(JOBS.c.next_attempt_after, False, is_waiting()),
    Sort.LONGEST: _Order(JOBS.c.started, False, JOBS.c.worker_id.is_not(None)),
    Sort.FINISHED: _Order(JOBS.c.finished, True, JOBS.c.finished.is_not(None)),
}

_BY_ACCEPTANCE = frozenset({Sort.NEWEST, Sort.OLDEST})

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
    wanted = settled(connection, wanted)
    dialect = connection.dialect.name
    query = statement(wanted, sort=sort, limit=limit, after=after, whole=whole, dialect=dialect)
    return list(connection.execute(query))


def statement(
    wanted: Filter,
    *,
    sort: Sort = Sort.NEWEST,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    whole: bool = False,
    dialect: str = "postgresql",
) -> Select[Any]:
    """The query of ``page``, whose filter is ``settled``."""
    order = _ORDERS[sort]
    conditions = wanted.conditions()
    if order.only is not None:
        conditions.append(order.only)
    if after is not None:
        here = tuple_(order.moment, JOBS.c.id)
        key = tuple_(literal(after[0], order.moment.type), literal(after[1], JOBS.c.id.type))
        conditions.append(here < key if order.newest_first else here > key)
    chosen = select(JOBS) if whole else select(*_SHOWN)
    if wanted.worker_ids and sort in _BY_ACCEPTANCE and dialect == "postgresql":
        chosen = chosen.where(JOBS.c.id.in_(_of_workers(wanted, conditions, order, limit)))
    else:
        chosen = chosen.where(*conditions)
    return chosen.order_by(*order.keys()).limit(limit)


def _of_workers(wanted: Filter, conditions: Sequence[Any], order: _Order, limit: int) -> Select[Any]:
    """Ids of the first jobs of these workers. Of each worker so many are read, by an index, as are wanted.

    A condition on all workers together would be looked at for each job of the ledger, or each of theirs.
    """
    started = select(WORKERS.c.id).where(WORKERS.c.id.in_(wanted.worker_ids or ())).subquery()
    parts = []
    for mine in (
        [JOBS.c.worker_id == started.c.id],
        [JOBS.c.last_worker_id == started.c.id, JOBS.c.worker_id.is_(None)],
    ):
        first = select(JOBS.c.id, order.moment).where(*mine, *conditions).order_by(*order.keys()).limit(limit)
        each = first.correlate(started).lateral()
        parts.append(select(each.c.id, each.c[order.moment.name]).join_from(started, each, true()))
    found = union_all(*parts).subquery()
    keys = found.c[order.moment.name], found.c.id
    return (
        select(found.c.id).order_by(*(key.desc() if order.newest_first else key for key in keys)).limit(limit)
    )


def count(
    connection: Connection, wanted: Filter, *, most: int, states: Collection[JobState] | None = None
) -> int:
    """How many jobs match, counted up to ``most``, so that it costs no more in a large table.

    Args:
        states: only jobs that are in one of these.
    """
    only = [] if states is None else [is_in(*states)]
    parts = [select(JOBS.c.id).where(*part, *only) for part in settled(connection, wanted).parts()]
    found = (union_all(*parts) if len(parts) > 1 else parts[0]).limit(most).subquery()
    return int(connection.execute(select(func.count()).select_from(found)).scalar_one())


def moment_of(row: Row[Any], sort: Sort) -> datetime:
    """The value by which ``sort`` orders; with the id it is the key after which the next page begins."""
    moment: datetime = row._mapping[_ORDERS[sort].moment.name]
    return moment
