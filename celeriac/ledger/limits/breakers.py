"""Circuit breakers in the ledger: attempts that ended, by the second, and the state in the limit's row.

Workers count what they end in memory, and their keepers write the sums once a second. So an outcome writes
nothing more, and nobody looks for ended attempts among the jobs. A worker that dies takes a second with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.schema.columns import Seconds, after, now, span_start
from celeriac.ledger.schema.limit_tables import ENDED, LIMITS
from celeriac.limits.breaker import Breaker, BreakerState, Tally, next_state

#: Seconds for which counts are kept: the longest window.
_KEPT = 3600.0


def count(connection: Connection, tallies: Mapping[str, Tally]) -> None:
    """Add attempts that ended now, by limit."""
    rows = [
        {"name": name, "ended": tally.ended, "failed": tally.failed}
        for name, tally in sorted(tallies.items())
    ]
    if rows:
        connection.execute(_add(connection.dialect.name), rows)


def judge(connection: Connection, limits: Mapping[str, KnownLimit]) -> dict[str, tuple[BreakerState, str]]:
    """Open, try and close breakers; return what has changed, and why. One worker at a time does so."""
    changed: dict[str, tuple[BreakerState, str]] = {}
    judged = [each for each in limits.items() if each[1].breaker and each[1].breaker_set is None]
    moment = clock(connection) if judged else None
    for name, limit in judged:
        assert limit.breaker is not None
        assert moment is not None
        tally = tally_of(connection, limit, limit.breaker)
        state = limit.breaker_state
        wanted = next_state(limit.breaker, state, tally, since=limit.breaker_since, now=moment)
        if wanted is not state and _move(connection, name, state, wanted, tally):
            changed[name] = wanted, tally.words
    return changed


def tally_of(connection: Connection, limit: KnownLimit, breaker: Breaker) -> Tally:
    """What ended within the window of a limit's breaker, since it is what it is."""
    c = ENDED.c
    sums = select(func.coalesce(func.sum(c.ended), 0), func.coalesce(func.sum(c.failed), 0))
    mine = sums.where(c.name == limit.name, c.second >= after(bindparam("window", type_=Seconds)))
    if limit.breaker_since is not None:
        mine = mine.where(c.second > limit.breaker_since - timedelta(seconds=1))  # its second included
    ended, failed = connection.execute(mine, {"window": -breaker.window}).one()
    return Tally(int(ended), int(failed))


def switch(connection: Connection, name: str, to: BreakerState | None, *, who: str | None) -> bool:
    """Let a breaker be open or closed, whatever fails; None: let it judge again, from closed on."""
    values: dict[str, Any] = {"breaker_set": to, "breaker_set_by": who, "breaker_since": now()}
    if to is None:
        values |= {"breaker_state": BreakerState.CLOSED.value, "breaker_why": None}
    return bool(connection.execute(update(LIMITS).where(LIMITS.c.name == name).values(values)).rowcount)


def prune(connection: Connection) -> None:
    """Delete counts that no window reaches."""
    old = ENDED.c.second < after(bindparam("kept", type_=Seconds))
    connection.execute(delete(ENDED).where(old), {"kept": -_KEPT})


def _move(connection: Connection, name: str, before: BreakerState, to: BreakerState, tally: Tally) -> bool:
    c = LIMITS.c
    was = c.breaker_state == before.value
    if before is BreakerState.CLOSED:
        was = func.coalesce(c.breaker_state, BreakerState.CLOSED.value) == before.value
    values: dict[str, Any] = {"breaker_state": to.value, "breaker_since": now()}
    if to is not BreakerState.HALF_OPEN:
        values["breaker_why"] = tally.words if to is BreakerState.OPEN else None
    mine = update(LIMITS).where(c.name == name, c.breaker_set.is_(None), was)
    return bool(connection.execute(mine.values(values)).rowcount)


@lru_cache
def _add(dialect: str) -> Any:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    given = {name: bindparam(name, type_=ENDED.c[name].type) for name in ("name", "ended", "failed")}
    row = insert(ENDED).values(**given, second=span_start(1, now()))
    added = {name: ENDED.c[name] + row.excluded[name] for name in ("ended", "failed")}
    return row.on_conflict_do_update(index_elements=["name", "second"], set_=added)
