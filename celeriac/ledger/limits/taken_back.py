"""Permits of jobs that are on their way and do not arrive, taken back while others wait for them.

A job whose message lies in a list that nobody draws from, or in a worker that is busy with a long job, would
hold its permits for nothing. Its message is late then, and loses its claim.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Connection,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    update,
)

from celeriac.ledger.limits.in_use import NUMBERS, in_use
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Seconds, after
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting

#: Seconds from the sending of a message, after which its permits may be taken back.
PATIENCE = 10.0

#: Jobs of one look.
_MOST = 20

#: The wait of a job whose list nobody draws from doubles from the first to the second, in seconds.
_WAIT, _LONGEST_WAIT = 10.0, 300.0


def take_back(connection: Connection, permits: Sequence[str], *, drawn: Collection[str]) -> list[str]:
    """Clear the dispatch marks of jobs that hold these permits and do not arrive; return what they held.

    A long backlog is no reason: what is taken back would go to its end. A job is stuck if one whose message
    was sent later into the same list runs, or if nobody draws from its list; then it also waits, longer each
    time.

    Args:
        drawn: the lists that live workers draw from.
    """
    if not permits:
        return []
    dialect = connection.dialect.name
    given = batch.table_parameters(dialect, _NAMES, [{"name": name} for name in permits])
    given |= batch.table_parameters(dialect, _NAMES, [{"name": name} for name in sorted(drawn)], name="drawn")
    freed: set[str] = set()
    for number in NUMBERS:
        for row in connection.execute(_take_back(dialect, number), given | {"patience": -PATIENCE}):
            freed.update(name for name in row if name is not None)
    return sorted(freed)


@dataclass(frozen=True, slots=True)
class Undrawn:
    """Permits that are on their way into a list that nobody draws from."""

    queue: str
    permit: str  # the first that each of the jobs takes
    jobs: int


def undrawn(connection: Connection, *, drawn: Collection[str], older: float, most: int) -> list[Undrawn]:
    """Up to ``most`` such lists with what is on its way there, sent more than ``older`` seconds ago."""
    c, late = JOBS.c, select(after(bindparam("older", type_=Seconds))).scalar_subquery()
    stuck = and_(in_use(1), is_waiting(), c.dispatched <= late)
    counted = select(c.queue, c.permit_1, func.count()).where(stuck).group_by(c.queue, c.permit_1)
    found = [Undrawn(*row) for row in connection.execute(counted, {"older": -older}) if row[0] not in drawn]
    return sorted(found, key=lambda each: -each.jobs)[:most]


_NAMES: dict[str, Any] = {"name": JOBS.c.permit_1.type}


@lru_cache
def _take_back(dialect: str, number: int) -> Update:
    c, later = JOBS.c, JOBS.alias("later")
    names, drawn = batch.as_table(dialect, _NAMES), batch.as_table(dialect, _NAMES, name="drawn")
    nobody = c.queue.not_in(select(drawn.c.name))
    passed = exists(
        select(literal(1)).where(
            later.c.worker_id.is_not(None), later.c.queue == c.queue, later.c.dispatched > c.dispatched
        )
    )
    stuck = (
        select(c.id)
        .where(in_use(number), c[f"permit_{number}"].in_(select(names.c.name)), is_waiting())
        .where(c.dispatched <= select(after(bindparam("patience", type_=Seconds))).scalar_subquery())
        .where(or_(nobody, passed))
        .limit(_MOST)
        .with_for_update(skip_locked=True)
    )
    doubled = literal(1).op("<<")(case((c.dispatch_count > 5, 5), else_=c.dispatch_count))
    wait = case((doubled * _WAIT > _LONGEST_WAIT, _LONGEST_WAIT), else_=doubled * _WAIT)
    return (
        update(JOBS)
        .where(c.id.in_(stuck))
        .values(
            dispatched=null(),
            next_attempt_after=case((nobody, after(wait)), else_=c.next_attempt_after),
        )
        .returning(c.permit_1, c.permit_2, c.permit_3)
    )
