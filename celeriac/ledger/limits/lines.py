"""Lines: which of them are to be looked at, and when. Only keepers write them.

A line is due when a job may be admitted from it. One that is blocked waits for what is given back of one
permit: whoever ends a job of it wakes the line, behind the lock of the permit's key. So a wake cannot fall
between a count and the note that the line is blocked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    true,
    update,
)

from celeriac.ledger.connection.one_trip import Step, in_one_trip
from celeriac.ledger.limits.in_use import IN_LINE, NUMBERS
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Instant, Seconds, after, insert_of, now
from celeriac.ledger.schema.distinct_values import distinct_values
from celeriac.ledger.schema.limit_tables import LINES, PERMIT_KEYS
from celeriac.ledger.schema.models import JOBS
from celeriac.limits.permits import is_order

#: Seconds after which the server takes back what a transaction has locked of limits, if its process says
#: nothing more: a worker may be frozen in the middle of it, and all others wait.
IDLE = 0.5

_PERMITS = tuple(f"permit_{number}" for number in NUMBERS)
_HEAD = (JOBS.c.line, *(JOBS.c[name] for name in _PERMITS))


def arrived(connection: Connection, *, lately: float) -> None:
    """Make lines due into which jobs came within so many seconds."""
    _make_due(connection, connection.execute(_arrived(), {"lately": -lately}).all())


def find_forgotten(connection: Connection, *, beyond: UUID | None, most: int) -> UUID | None:
    """Make lines due that were forgotten: a worker died, or a job came back to its line in another way.

    Args:
        beyond: the line at which the last look ended; None: begin.

    Returns:
        Where the next look goes on; None: from the beginning.
    """
    first = beyond or UUID(int=0)
    found = [row for row in connection.execute(_lines_beyond(most), {"beyond": first}) if row.line]
    look_at(connection, [row.line for row in found if not row.is_known])
    return max(row.line for row in found) if len(found) >= most else None


def blocked_permits(connection: Connection, *, beyond: str, most: int) -> list[str]:
    """The permits behind ``beyond`` on which lines are blocked, each found by one search of the index."""
    found = connection.execute(_blocked_beyond(most), {"beyond": beyond})
    return [permit for permit in found.scalars() if permit is not None]


class PermitKey(NamedTuple):
    """The locked row of a permit.

    Attributes:
        next_start: of a rate; None: none was yet.
        rests_until: nothing starts before; None: nobody asked for a rest.
    """

    name: str
    next_start: datetime | None
    rests_until: datetime | None


def lock_keys(connection: Connection, permits: Sequence[str]) -> dict[str, PermitKey]:
    """Lock the rows of these permits in the order of their names; return them. Missing ones are made."""
    names = sorted(set(permits))
    dialect = connection.dialect.name
    insert = insert_of(dialect)
    rows = [{"name": name} for name in names]
    there = set(connection.execute(_there(dialect), batch.text_parameters(dialect, names)).scalars().all())
    if missing := [row for row in rows if row["name"] not in there]:
        made = insert(PERMIT_KEYS).values(name=bindparam("name"), touched=now()).on_conflict_do_nothing()
        connection.execute(made, missing)
    return _locked(connection, names)


def lock_known_keys(connection: Connection, permits: Sequence[str]) -> dict[str, PermitKey]:
    """As ``lock_keys``, of permits whose rows are there in all likelihood."""
    names = sorted(set(permits))
    found = _locked(connection, names)
    return found if len(found) == len(names) else lock_keys(connection, names)


def lock_step(dialect: str, permits: Sequence[str], *, skip: bool = False) -> Step:
    """The statement that locks the keys of ``permits`` which are there; ``keys_of`` reads its rows.

    Args:
        skip: leave out those that another transaction has locked.
    """
    return _lock(dialect, skip), batch.text_parameters(dialect, sorted(set(permits)))


def keys_of(rows: Iterable[Sequence[Any]]) -> dict[str, PermitKey]:
    """The locked keys, by their names."""
    return {row[0]: PermitKey(*row) for row in rows}


def look_at(connection: Connection, ids: Collection[UUID]) -> None:
    """Make these lines due when the first of their jobs is: some came back to them."""
    dialect, known = connection.dialect.name, sorted(ids, key=str)
    if not known:
        return
    if dialect == "postgresql":
        rows = batch.table_parameters(dialect, _IDS, [{"id": line} for line in known])
        heads = list(connection.execute(_head_of_each(dialect), rows))
    else:
        heads = [row for line in known for row in connection.execute(_head(), {"of": line})]
    _make_due(connection, heads)


def wake(connection: Connection, rooms: Mapping[str, int]) -> None:
    """Make lines due that are blocked on these permits: as many as there may be room for, by turn."""
    lock_known_keys(connection, list(rooms))
    dialect = connection.dialect.name
    if dialect != "postgresql":
        for permit, room in sorted(rooms.items()):
            connection.execute(_wake(), {"permit": permit, "most": room})
        return
    in_one_trip(connection, wake_step(dialect, rooms))


def wake_step(dialect: str, rooms: Mapping[str, int]) -> Step:
    """The statement of ``wake`` on PostgreSQL, for permits whose keys are locked."""
    rows = [{"permit": permit, "most": room} for permit, room in sorted(rooms.items())]
    return _wake_each(dialect), batch.table_parameters(dialect, _ROOMS, rows)


def wake_all(connection: Connection, limit: str) -> None:
    """Make all lines due that are blocked on a permit of this limit: its rule has changed."""
    prefix = f"{limit}:"
    blocked = func.substr(LINES.c.blocked_on, 1, len(prefix)) == prefix
    connection.execute(update(LINES).where(blocked).values(due=now(), blocked_on=None, touched=now()))


def rest(connection: Connection, permits: Sequence[str], *, seconds: float) -> None:
    """Let nothing of these permits start for so many seconds."""
    lock_keys(connection, permits)
    until = after(bindparam("seconds", type_=Seconds))
    c = PERMIT_KEYS.c
    later = or_(c.rests_until.is_(None), c.rests_until < until)
    mine = update(PERMIT_KEYS).where(c.name.in_(sorted(set(permits))), later)
    connection.execute(mine.values(rests_until=until, touched=now()), {"seconds": seconds})


def forget(connection: Connection, *, age: float, limit: int) -> int:
    """Delete lines and keys that nobody has used for so many seconds; return how many."""
    old = after(bindparam("age", type_=Seconds))
    c, gone = LINES.c, 0
    idle = and_(c.due.is_(None), c.blocked_on.is_(None), c.touched < old)
    chosen = select(c.id).where(idle).limit(limit).with_for_update(skip_locked=True)
    gone += connection.execute(delete(LINES).where(c.id.in_(chosen)), {"age": -age}).rowcount
    k = PERMIT_KEYS.c
    unused = and_(k.touched < old, or_(k.rests_until.is_(None), k.rests_until < now()))
    keys = select(k.name).where(unused).limit(limit).with_for_update(skip_locked=True)
    return gone + connection.execute(delete(PERMIT_KEYS).where(k.name.in_(keys)), {"age": -age}).rowcount


def _locked(connection: Connection, names: Sequence[str]) -> dict[str, PermitKey]:
    (found,) = in_one_trip(connection, lock_step(connection.dialect.name, names))
    return keys_of(found)


def _make_due(connection: Connection, found: Sequence[Any]) -> None:
    if not found:
        return
    rows = [
        {"id": row.line, "due": row.due, **_permits_of_line(row)}
        for row in sorted(found, key=lambda row: str(row.line))
    ]
    connection.execute(_upsert(connection.dialect.name), rows)


def _permits_of_line(row: Any) -> dict[str, Any]:
    """What all jobs of the line take: of an order nothing else is sure."""
    if is_order(row.permit_1):
        return dict.fromkeys(_PERMITS) | {"permit_1": row.permit_1}
    return {name: getattr(row, name) for name in _PERMITS}


@lru_cache
def _there(dialect: str) -> Select[Any]:
    return select(PERMIT_KEYS.c.name).where(batch.text_in(dialect, PERMIT_KEYS.c.name))


@lru_cache
def _lock(dialect: str, skip: bool) -> Select[Any]:
    c = PERMIT_KEYS.c
    mine = select(c.name, c.next_start, c.rests_until).where(batch.text_in(dialect, c.name))
    return mine.order_by(c.name).with_for_update(skip_locked=skip)


@lru_cache
def _upsert(dialect: str) -> Any:
    insert = insert_of(dialect)
    given: dict[str, Any] = {
        name: bindparam(name, type_=LINES.c[name].type) for name in ("id", *_PERMITS, "due")
    }
    # Not before now: whoever looks again and again begins at what is due for the longest time.
    given["due"] = case((given["due"] < now(), now()), else_=given["due"])
    row = insert(LINES).values(**given, turn=0, touched=now())
    sooner = and_(LINES.c.blocked_on.is_(None), or_(LINES.c.due.is_(None), LINES.c.due > row.excluded.due))
    return row.on_conflict_do_update(
        index_elements=["id"], set_={"due": row.excluded.due, "touched": now()}, where=sooner
    )


@lru_cache
def _arrived() -> Select[Any]:
    since = select(after(bindparam("lately", type_=Seconds))).scalar_subquery()
    columns = (JOBS.c.line, *(JOBS.c[name] for name in _PERMITS))
    soonest = func.min(JOBS.c.next_attempt_after, type_=Instant).label("due")
    return select(*columns, soonest).where(IN_LINE, JOBS.c.queued >= since).group_by(*columns)


_IDS: dict[str, Any] = {"id": LINES.c.id.type}


@lru_cache
def _head() -> Select[Any]:
    """The permits of a line, and when the first of its jobs is due."""
    of = JOBS.c.line == bindparam("of", type_=JOBS.c.line.type)
    return select(*_HEAD, soonest(of).scalar_subquery().label("due")).where(IN_LINE, of).limit(1)


@lru_cache
def _head_of_each(dialect: str) -> Select[Any]:
    given = batch.as_table(dialect, _IDS)
    of = JOBS.c.line == given.c.id
    due = soonest(of).correlate(given).scalar_subquery().label("due")
    each = select(*_HEAD, due).where(IN_LINE, of).limit(1).correlate(given).lateral("each")
    return select(*each.c).select_from(given.join(each, true()))


def soonest(of: ColumnElement[bool]) -> Select[Any]:
    """When the first job of a line is due."""
    return select(func.min(JOBS.c.next_attempt_after, type_=Instant)).where(IN_LINE, of)


def first_of(line: Any, most: Any) -> Select[Any]:
    """The first due jobs of a line, as they go."""
    c = JOBS.c
    columns = (c.id, c.priority, *(c[f"weight_{number}"] for number in NUMBERS))
    due = and_(IN_LINE, c.line == line, c.next_attempt_after <= select(now()).scalar_subquery())
    order = (c.priority.desc(), c.next_attempt_after, c.id)
    return select(*columns).where(due).order_by(*order).limit(most)


@lru_cache
def _lines_beyond(most: int) -> Select[Any]:
    """The distinct lines that have waiting jobs, each found by one search of the index.

    A line is known if it is due or blocked. One that is due later may have got a job that is due now.
    """
    beyond = bindparam("beyond", type_=JOBS.c.line.type)
    each = distinct_values(JOBS.c.line, IN_LINE, beyond=beyond, most=most)
    known = or_(LINES.c.blocked_on.is_not(None), LINES.c.due <= now())
    return select(each.c.value.label("line"), func.coalesce(known, False).label("is_known")).select_from(
        each.outerjoin(LINES, LINES.c.id == each.c.value)
    )


@lru_cache
def _blocked_beyond(most: int) -> Select[Any]:
    blocked_on = LINES.c.blocked_on
    beyond = bindparam("beyond", type_=blocked_on.type)
    return select(distinct_values(blocked_on, beyond=beyond, most=most).c.value)


_ROOMS: dict[str, Any] = {"permit": LINES.c.blocked_on.type, "most": LINES.c.turn.type}


@lru_cache
def _wake() -> Any:
    permit = bindparam("permit", type_=LINES.c.blocked_on.type)
    return _woken(_blocked_on(permit, bindparam("most")))


@lru_cache
def _wake_each(dialect: str) -> Any:
    given = batch.as_table(dialect, _ROOMS)
    each = _blocked_on(given.c.permit, given.c.most).correlate(given).lateral("each")
    return _woken(select(each.c.id).select_from(given.join(each, true())))


def _blocked_on(permit: Any, most: Any) -> Select[Any]:
    c = LINES.c
    return select(c.id).where(c.blocked_on == permit).order_by(c.turn).limit(most)


def _woken(chosen: Select[Any]) -> Any:
    return update(LINES).where(LINES.c.id.in_(chosen)).values(due=now(), blocked_on=None, touched=now())
