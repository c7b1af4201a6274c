"""Fair queues: which of their jobs go next, and turns for those that were not due when they were accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, and_, bindparam, func, literal, select, update

from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.schema.columns import after, now
from celeriac.ledger.schema.models import JOBS, WORKERS
from celeriac.ledger.schema.turns import WAITING_FOR_TURN
from celeriac.limits.admission import Candidate
from celeriac.limits.fairness import Fairness, Windows, queue_of
from celeriac.limits.permits import Permit, is_fair

#: Rows that are given a turn at one look.
_GIVEN = 200


def known(permits: Iterable[str], windows: Windows) -> dict[str, KnownLimit]:
    """The permits of fair queues as limits: how many of their jobs may be on their way or run now."""
    found = {}
    for name in filter(is_fair, permits):
        size = windows.size(queue_of(name))
        if size:
            found[name.partition(":")[0]] = KnownLimit(name=name, concurrency=size, rate=None, burst=None)
    return found


def queues_drawn(connection: Connection, *, within: float) -> list[str]:
    """The lists that workers which live draw from."""
    return sorted(children(connection, within=within))


def children(connection: Connection, *, within: float) -> dict[str, int]:
    """How many jobs the workers that live run at once, by the queue that they draw from."""
    lives = and_(WORKERS.c.stopped.is_(None), WORKERS.c.heartbeat >= select(after(-within)).scalar_subquery())
    found: dict[str, int] = {}
    for row in connection.execute(select(WORKERS.c.concurrency, WORKERS.c.queues).where(lives)):
        for queue in row.queues:
            found[queue] = found.get(queue, 0) + row.concurrency
    return found


def anything_waits(connection: Connection) -> bool:
    """Whether a job of a fair queue waits."""
    some = [select(literal(1)).where(each).limit(1) for each in (WAITING_FOR_TURN, _NO_TURN)]
    return any(connection.execute(each).first() is not None for each in some)


def candidates(
    connection: Connection, lines: Mapping[UUID, str], *, fairness: Fairness, most: int
) -> dict[UUID, list[Candidate]]:
    """The first due jobs of fair queues, as they go; ``lines`` with the permit of each."""
    found: dict[UUID, list[Candidate]] = {}
    for line, permit in lines.items():
        give_turns(connection, line, fairness)
        rows = connection.execute(_first(), {"of": line, "most": most})
        takes = (Permit(permit, 1),)
        found[line] = [Candidate(row.id, line, row.priority, takes) for row in rows]
    return found


def give_turns(connection: Connection, line: UUID, fairness: Fairness) -> None:
    """Give jobs that have become due their turns: behind the last of their own tenant."""
    rows = connection.execute(_due_without(), {"of": line}).all()
    next_turns: dict[tuple[int, str], int] = {}
    given = []
    for row in rows:
        tenant = row.priority, row.fair_key
        step = fairness.turn(row.fair_key).step
        if tenant not in next_turns:
            next_turns[tenant] = _first_turn(connection, line, *tenant, step)
        given.append({"job": row.id, "to": next_turns[tenant]})
        next_turns[tenant] += step
    if given:
        connection.execute(_give(), given)


def before(connection: Connection, job: Any, *, most: int) -> int:
    """How many jobs of its queue go before a job that waits for its turn, counted up to ``most``."""
    c = JOBS.c
    sooner = and_(c.priority == job.priority, c.turn < (0 if job.turn is None else job.turn))
    ahead = and_(WAITING_FOR_TURN, c.line == job.line, (c.priority > job.priority) | sooner)
    counted = select(func.count()).select_from(select(c.id).where(ahead).limit(most).subquery())
    return int(connection.execute(counted).scalar_one())


_NO_TURN = and_(
    JOBS.c.fair_key.is_not(None),
    JOBS.c.turn.is_(None),
    JOBS.c.dispatched.is_(None),
    JOBS.c.held.is_(None),
)


def _first_turn(connection: Connection, line: UUID, priority: int, key: str, step: int) -> int:
    c = JOBS.c
    level = and_(WAITING_FOR_TURN, c.line == line, c.priority == priority)
    lowest = connection.execute(select(func.min(c.turn)).where(level)).scalar()
    last = connection.execute(select(func.max(c.turn)).where(level, c.fair_key == key)).scalar()
    return max(lowest or 0, 0 if last is None else last + step)


def _line() -> Any:
    return bindparam("of", type_=JOBS.c.line.type)


@lru_cache
def _first() -> Select[Any]:
    c = JOBS.c
    due = and_(WAITING_FOR_TURN, c.line == _line(), c.next_attempt_after <= select(now()).scalar_subquery())
    order = (c.priority.desc(), c.turn, c.id)
    return select(c.id, c.priority).where(due).order_by(*order).limit(bindparam("most"))


@lru_cache
def _due_without() -> Select[Any]:
    c = JOBS.c
    due = and_(_NO_TURN, c.line == _line(), c.next_attempt_after <= select(now()).scalar_subquery())
    chosen = select(c.id, c.priority, c.fair_key).where(due).order_by(c.next_attempt_after, c.id)
    return chosen.limit(_GIVEN).with_for_update(skip_locked=True)


@lru_cache
def _give() -> Update:
    mine = and_(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type), _NO_TURN)
    return update(JOBS).where(mine).values(turn=bindparam("to", type_=JOBS.c.turn.type))
