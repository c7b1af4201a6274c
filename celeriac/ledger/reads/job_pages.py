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

#: The value by which jobs are ordered, and the id: a place in a list.
Key = tuple[datetime, UUID]

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

    @property
    def key(self) -> tuple[Any, Any]:
        return self.moment, JOBS.c.id

    def keys(self) -> list[Any]:
        """By what it orders."""
        return [key.desc() if self.newest_first else key for key in self.key]

    def between(self, after: Key | None, down_to: Key | None) -> list[Any]:
        """Conditions: behind the one key, and not behind the other."""
        here, found = tuple_(*self.key), []
        if after is not None:
            found.append(here < self._of(after) if self.newest_first else here > self._of(after))
        if down_to is not None:
            found.append(here >= self._of(down_to) if self.newest_first else here <= self._of(down_to))
        return found

    def _of(self, key: Key) -> Any:
        return tuple_(*(literal(value, column.type) for value, column in zip(key, self.key, strict=True)))


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
    after: Key | None = None,
    down_to: Key | None = None,
    whole: bool = False,
) -> list[Row[Any]]:
    """Up to ``limit`` jobs.

    Args:
        after: only jobs after this key.
        down_to: only jobs up to this key.
        whole: return every column, instead of the columns of a list and the database's ``clock``.
    """
    wanted = settled(connection, wanted)
    dialect = connection.dialect.name
    query = statement(
        wanted, sort=sort, limit=limit, after=after, down_to=down_to, whole=whole, dialect=dialect
    )
    return list(connection.execute(query))


def last_looked_at(
    connection: Connection, wanted: Filter, *, sort: Sort, after: Key | None = None, most: int
) -> Key | None:
    """Where a search for ``wanted.error`` ends that looks at ``most`` failures; None: there are fewer.

    ``wanted`` is settled. No index finds a text inside of another: only a bound keeps such a search short.
    """
    if wanted.error is None or sort not in _BY_ACCEPTANCE:
        return None
    order = _ORDERS[sort]
    looked_at = wanted.failures_within() + order.between(after, None)
    query = select(*order.key).where(*looked_at).order_by(*order.keys()).offset(most - 1).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row[0], row[1])


def statement(
    wanted: Filter,
    *,
    sort: Sort = Sort.NEWEST,
    limit: int,
    after: Key | None = None,
    down_to: Key | None = None,
    whole: bool = False,
    dialect: str = "postgresql",
) -> Select[Any]:
    """The query of ``page``, whose filter is ``settled``."""
    order = _ORDERS[sort]
    conditions = wanted.conditions()
    if order.only is not None:
        conditions.append(order.only)
    conditions += order.between(after, down_to)
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


def count_by_state(connection: Connection, wanted: Filter, *, down_to: Key | None) -> dict[JobState, int]:
    """How many jobs match, by state; of the newest, down to this key. ``wanted`` is settled."""
    conditions = wanted.conditions() + _ORDERS[Sort.NEWEST].between(None, down_to)
    counted = select(JOBS.c.state, func.count()).where(*conditions).group_by(JOBS.c.state)
    return {JobState(state): count for state, count in connection.execute(counted)}


def moment_of(row: Row[Any], sort: Sort) -> datetime:
    """The value by which ``sort`` orders; with the id it is the key after which the next page begins."""
    moment: datetime = row._mapping[_ORDERS[sort].moment.name]
    return moment
