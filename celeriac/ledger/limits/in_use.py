"""What is in use of permits, counted in the jobs that are dispatched and not finished, and what waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, select, union_all

from celeriac.ledger.connection.one_trip import Step, in_one_trip
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Seconds, after
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.schema.models import JOBS
from celeriac.limits.limit import FAIR, MOST

NUMBERS = range(1, MOST + 1)

#: A row that waits in its line.
IN_LINE = and_(JOBS.c.line.is_not(None), JOBS.c.dispatched.is_(None), JOBS.c.held.is_(None))


def count(connection: Connection, permits: Iterable[str]) -> dict[str, int]:
    """The weight of what is in use of each of these permits."""
    names = sorted(set(permits))
    if not names:
        return {}
    (found,) = in_one_trip(connection, count_step(connection.dialect.name, names))
    return counted(found)


def count_step(dialect: str, permits: Sequence[str]) -> Step:
    """The statement of ``count``; ``counted`` reads its rows."""
    return _count(dialect), batch.table_parameters(dialect, _NAMES, [{"name": name} for name in permits])


def counted(rows: Iterable[Sequence[Any]]) -> dict[str, int]:
    return {name: int(used or 0) for name, used in rows}


def on_way(connection: Connection, permits: Iterable[str], *, lately: float) -> dict[str, tuple[int, int]]:
    """The weight of what is on its way to a worker of each of these permits: sent lately, and before.

    Args:
        lately: within so many seconds.
    """
    names = sorted(set(permits))
    if not names:
        return {}
    dialect = connection.dialect.name
    rows = batch.table_parameters(dialect, _NAMES, [{"name": name} for name in names])
    found = connection.execute(_on_way(dialect), rows | {"lately": -lately}).all()
    return {row.name: (int(row.fresh or 0), int(row.every or 0) - int(row.fresh or 0)) for row in found}


def by_permit(connection: Connection) -> dict[str, tuple[int, int]]:
    """Of every permit that is in use: the weight of what runs, and of what is on its way to a worker."""
    found: dict[str, tuple[int, int]] = {}
    for name, runs, waits in connection.execute(_by_permit()):
        before = found.get(name, (0, 0))
        found[name] = before[0] + int(runs or 0), before[1] + int(waits or 0)
    return found


def waiting(connection: Connection, *, most: int) -> dict[str, int]:
    """How many jobs wait for each permit, of the first ``most`` rows that wait for any.

    Lines that no keeper has seen are left out, and those of fair queues.
    """
    of_limits = select(LINES.c.id).where(~LINES.c.permit_1.startswith(FAIR, autoescape=True))
    some = select(*(JOBS.c[f"permit_{number}"] for number in NUMBERS)).where(IN_LINE)
    some = some.where(JOBS.c.line.in_(of_limits)).limit(most)
    found: dict[str, int] = {}
    for row in connection.execute(some):
        for name in row:
            if name is not None:
                found[name] = found.get(name, 0) + 1
    return found


def before(connection: Connection, job: Any, *, most: int) -> int:
    """How many jobs of its line go before a job that waits in it, counted up to ``most``."""
    c = JOBS.c
    sooner = and_(c.priority == job.priority, c.next_attempt_after < job.next_attempt_after)
    ahead = select(c.id).where(IN_LINE, c.line == job.line, (c.priority > job.priority) | sooner).limit(most)
    return int(connection.execute(select(func.count()).select_from(ahead.subquery())).scalar_one())


_NAMES: dict[str, Any] = {"name": JOBS.c.permit_1.type}


def in_use(number: int) -> ColumnElement[bool]:
    """Whether a row holds its permit of this number; spelled as in the index."""
    permit = JOBS.c[f"permit_{number}"]
    return and_(permit.is_not(None), JOBS.c.dispatched.is_not(None), JOBS.c.finished.is_(None))


@lru_cache
def _count(dialect: str) -> Select[Any]:
    """One search of an index for each permit and each of the three columns that may name it."""
    names = batch.as_table(dialect, _NAMES)
    return select(names.c.name, _sum(names).label("used"))


@lru_cache
def _on_way(dialect: str) -> Select[Any]:
    """Only what no worker has claimed; its rows are read, too."""
    names, unclaimed = batch.as_table(dialect, _NAMES), JOBS.c.worker_id.is_(None)
    since = select(after(bindparam("lately", type_=Seconds))).scalar_subquery()
    fresh = _sum(names, unclaimed, JOBS.c.dispatched >= since)
    return select(names.c.name, _sum(names, unclaimed).label("every"), fresh.label("fresh"))


def _sum(names: Any, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    parts = [
        select(func.coalesce(func.sum(JOBS.c[f"weight_{number}"]), 0))
        .where(in_use(number), JOBS.c[f"permit_{number}"] == names.c.name, *conditions)
        .correlate(names)
        .scalar_subquery()
        for number in NUMBERS
    ]
    return parts[0] + parts[1] + parts[2]


@lru_cache
def _by_permit() -> Any:
    parts: Sequence[Select[Any]] = [_of_column(number) for number in NUMBERS]
    return union_all(*parts)


def _of_column(number: int) -> Select[Any]:
    permit, weight = JOBS.c[f"permit_{number}"], JOBS.c[f"weight_{number}"]
    runs = JOBS.c.worker_id.is_not(None)
    return (
        select(
            permit.label("name"),
            func.sum(weight).filter(runs).label("runs"),
            func.sum(weight).filter(~runs).label("waits"),
        )
        .where(in_use(number))
        .group_by(permit)
    )
