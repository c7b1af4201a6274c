"""Drop the partitions of days whose jobs are older than their retention.

What must stay of such a day (dead letters, what has not ended, what a chord waits for) is moved to the
default partition, if it is little. If it is much, the partition stays, and its rows are deleted as those of a
plain table are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, and_, delete, func, not_, or_, select

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.days.exclusive import bring_back, lock, set_aside
from celeriac.ledger.partitions.layout import PARENT, Day, days, is_divided
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.state_conditions import is_in
from celeriac.ledger.upkeep.parked import is_waited_for

#: Rows that are moved from a day that is dropped; a day of which more must stay is not dropped.
MOST = 1000

#: A row that ended so long before the look at its day had ended for the look as well.
_MARGIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How long ended rows are kept; the fields are those of ``retention.Retention``."""

    done: timedelta
    dead: timedelta
    tasks: Mapping[str, timedelta] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """What a day has, as it was at ``at``.

    Attributes:
        gone: how many rows may go, by their states.
        stay: the ids of those that must stay.
    """

    at: datetime
    gone: Counter[str]
    stay: frozenset[UUID]


def ended_days(connection: Connection, *, age: timedelta) -> list[Day]:
    """The days that have partitions and ended longer ago than ``age``, the oldest first."""
    if not is_divided(connection):
        return []
    latest = clock(connection) - age
    return [day for day in days(connection) if day.next.begins <= latest]


def look(connection: Connection, day: Day, ages: Ages) -> Look | None:
    """What a drop of the day's partition would take and leave; None: too much must stay."""
    now = clock(connection)
    may_go = func.coalesce(_is_old(now, ages), False)
    staying = select(JOBS.c.id).where(_in(day), not_(may_go)).limit(MOST + 1)
    stay = frozenset(connection.execute(staying).scalars())
    if len(stay) > MOST:
        return None
    counted = select(JOBS.c.state, func.count()).where(_in(day), may_go).group_by(JOBS.c.state)
    gone: Counter[str] = Counter({JobState(state): count for state, count in connection.execute(counted)})
    return Look(now, gone, stay)


def forget_attempts(connection: Connection, day: Day, stay: frozenset[UUID], *, limit: int) -> int:
    """Delete up to ``limit`` failed attempts of jobs of the day that do not stay; return how many."""
    c = FAILURES.c
    chosen = (
        select(c.job_id, c.attempt).where(_of(day), c.job_id.not_in(sorted(stay))).limit(limit).subquery()
    )
    mine = and_(c.job_id == chosen.c.job_id, c.attempt == chosen.c.attempt)
    return connection.execute(delete(FAILURES).where(mine)).rowcount


def drop(connection: Connection, day: Day, seen: Look) -> None:
    """Drop the partition of the day, and bring back what must stay.

    Raises:
        sqlalchemy.exc.OperationalError: the table was locked for too long: try again later.
    """
    lock(connection, briefly=True)
    stay = sorted(seen.stay | _changed(connection, day, since=seen.at - _MARGIN))
    set_aside(connection, day.name, "{column} = ANY (%s)", stay)
    # PostgreSQL detaches no partition to whose rows a foreign key leads.
    connection.execute(delete(FAILURES).where(_of(day)))
    connection.exec_driver_sql(f"ALTER TABLE {PARENT} DETACH PARTITION {day.name}")
    connection.exec_driver_sql(f"DROP TABLE {day.name}")
    bring_back(connection)


def _changed(connection: Connection, day: Day, *, since: datetime) -> set[UUID]:
    """The rows of the day that have not ended, or have ended lately: somebody may have brought them back."""
    c = JOBS.c
    found: set[UUID] = set()
    unfinished = is_in(*sorted(set(JobState) - TERMINAL))
    lately = and_(c.finished.is_not(None), c.finished > since)
    for changed in (unfinished, lately):  # each by an index: the whole ledger is locked
        found |= set(connection.execute(select(c.id).where(_in(day), changed)).scalars())
    return found


def _is_old(now: datetime, ages: Ages) -> ColumnElement[bool]:
    """Whether a row is one that a prune deletes."""
    c = JOBS.c
    ended = is_in(JobState.COMPLETED, JobState.CANCELLED)
    gone = (
        and_(ended, c.finished < now - ages.done, c.job_type.not_in(sorted(ages.tasks))),
        and_(is_in(JobState.FAILED), c.finished < now - ages.dead),
        *(and_(ended, c.finished < now - age, c.job_type == task) for task, age in ages.tasks.items()),
    )
    return and_(or_(*gone), not_(is_waited_for("postgresql")))


def _in(day: Day) -> ColumnElement[bool]:
    return _between(JOBS.c.id, day)


def _of(day: Day) -> ColumnElement[bool]:
    """Of attempts."""
    return _between(FAILURES.c.job_id, day)


def _between(id: Column[UUID], day: Day) -> ColumnElement[bool]:
    return and_(id >= day.first, id < day.next.first)
