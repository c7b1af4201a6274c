"""The rows of limits: what the code says, what an operator says instead, and who looks for new jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, cast, func, or_, select, update

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.connection.one_trip import Step, in_one_trip
from celeriac.ledger.schema.columns import Instant, after, insert_of, now
from celeriac.ledger.schema.limit_tables import LIMITS
from celeriac.ledger.schema.models import WORKERS
from celeriac.limits.breaker import Breaker, BreakerState
from celeriac.limits.breaker import read as read_breaker
from celeriac.limits.limit import FAIR, Limit
from celeriac.limits.order import OrderLimit
from celeriac.limits.rate import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLimit:
    """A limit as it holds now.

    Attributes:
        concurrency, rate, burst: as the code says.
        on_failure: of an order: what becomes of a job that failed and is tried again; None: it is none.
        breaker: as the code says; None: it has none.
        breaker_set: what an operator lets it be, whatever fails; None: it judges.
        breaker_state, breaker_since, breaker_why: what it is by its own judgement, since when, and why.
        set_concurrency, set_rate: as an operator says instead; None: as the code says.
        paused: since when nothing is admitted; None: it is not paused.
    """

    name: str
    concurrency: int | None
    rate: str | None
    burst: int | None
    on_failure: str | None = None
    set_concurrency: int | None = None
    set_rate: str | None = None
    set_by: str | None = None
    paused: datetime | None = None
    paused_by: str | None = None
    pause_reason: str | None = None
    breaker: Breaker | None = None
    breaker_set: BreakerState | None = None
    breaker_set_by: str | None = None
    breaker_state: BreakerState = BreakerState.CLOSED
    breaker_since: datetime | None = None
    breaker_why: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether its breaker lets nothing start."""
        return self.breaker_is is BreakerState.OPEN

    @property
    def is_half_open(self) -> bool:
        """Whether its breaker lets only probes start."""
        return self.breaker_is is BreakerState.HALF_OPEN

    @property
    def breaker_is(self) -> BreakerState | None:
        """What its breaker is; None: it has none."""
        return None if self.breaker is None else self.breaker_set or self.breaker_state

    @property
    def holds(self) -> int | None:
        """The concurrency that holds."""
        return self.concurrency if self.set_concurrency is None else self.set_concurrency

    @property
    def pace(self) -> Rate | None:
        """The rate that holds. The burst is of the code's rate; another rate has its own."""
        if self.set_rate is not None:
            return Rate.parse(self.set_rate)
        return None if self.rate is None else Rate.parse(self.rate, burst=self.burst)


_READ = tuple(LIMITS.c[name] for name in KnownLimit.__dataclass_fields__)


def read(connection: Connection) -> dict[str, KnownLimit]:
    """All limits, by name."""
    rows = connection.execute(select(*_READ).where(LIMITS.c.name != FAIR).order_by(LIMITS.c.name))
    return {row.name: _known(row) for row in rows}


def read_with_clock(connection: Connection) -> tuple[dict[str, KnownLimit], datetime]:
    """All limits, by name, and the database's clock; there is one limit at least."""
    (rows,) = in_one_trip(connection, with_clock_step())
    return known_with_clock(rows) if rows else ({}, clock(connection))


def with_clock_step() -> Step:
    """The statement of ``read_with_clock``; ``known_with_clock`` reads its rows."""
    return _with_clock(), {}


def known_with_clock(rows: Sequence[Sequence[Any]]) -> tuple[dict[str, KnownLimit], datetime]:
    """What ``read_with_clock`` returns, of one row at least."""
    limits = (_known(row[:-1]) for row in rows)
    return {limit.name: limit for limit in limits}, rows[-1][-1].astimezone(UTC)


@lru_cache
def _with_clock() -> Select[Any]:
    return select(*_READ, cast(now(), Instant).label("clock"))


def _known(row: Sequence[Any]) -> KnownLimit:
    values = dict(zip(KnownLimit.__dataclass_fields__, row, strict=True))
    said = values["breaker_set"]
    values["breaker"] = read_breaker(values["breaker"])
    values["breaker_set"] = None if said is None else BreakerState(said)
    values["breaker_state"] = BreakerState(values["breaker_state"] or BreakerState.CLOSED)
    return KnownLimit(**values)


def declare(connection: Connection, limits: Iterable[Limit], *, version: str | None = None) -> None:
    """Write what the code of a worker says. What an operator has set stays.

    Args:
        version: of the code. What a newer one has written stays, while a worker of it lives.
    """
    insert = insert_of(connection.dialect.name)
    for limit in sorted(limits, key=lambda each: each.name):
        if version is not None and _newer_lives(connection, limit.name, version):
            continue
        said: dict[str, Any] = {"concurrency": limit.concurrency, "rate": limit.rate, "burst": limit.burst}
        said["declared"] = now()
        said["declared_by"] = version
        said["breaker"] = limit.breaker._written() if limit.breaker else None
        said["on_failure"] = limit.on_failure if isinstance(limit, OrderLimit) else None
        row = insert(LIMITS).values(name=limit.name, **said)
        connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=said))


def _newer_lives(connection: Connection, name: str, version: str) -> bool:
    """Whether a worker lives of the version that wrote a limit, and that version came after ``version``.

    A version is as old as its first start that is on record.
    """
    writer = connection.execute(select(LIMITS.c.declared_by).where(LIMITS.c.name == name)).scalar()
    if writer is None or writer == version:
        return False
    c = WORKERS.c
    first = select(func.min(c.started)).where(c.code_version == version).scalar_subquery()
    writers = select(func.min(c.started)).where(c.code_version == writer).scalar_subquery()
    lives = select(c.id).where(c.code_version == writer, c.stopped.is_(None)).limit(1).scalar_subquery()
    newer = connection.execute(
        select(or_(first.is_(None), writers > first)).where(lives.is_not(None))
    ).scalar()
    return bool(newer)


def declare_fairness(connection: Connection) -> None:
    """Make the row by which one worker leads, where there is no limit but a fair queue."""
    insert = insert_of(connection.dialect.name)
    row = insert(LIMITS).values(name=FAIR, declared=now())
    connection.execute(row.on_conflict_do_nothing(index_elements=["name"]))


def lead(connection: Connection, looker: UUID, *, within: float) -> bool:
    """Whether ``looker`` is the one worker that looks for new jobs of limits, for so many seconds now."""
    first = select(func.min(LIMITS.c.name)).scalar_subquery()
    free = or_(LIMITS.c.looker == looker, LIMITS.c.looks_until.is_(None), LIMITS.c.looks_until < now())
    mine = update(LIMITS).where(LIMITS.c.name == first, free)
    return bool(connection.execute(mine.values(looker=looker, looks_until=after(within))).rowcount)


def change(connection: Connection, name: str, **values: Any) -> bool:
    """Write what an operator says of a limit; False: there is no such limit."""
    return bool(connection.execute(update(LIMITS).where(LIMITS.c.name == name).values(**values)).rowcount)


def pause(connection: Connection, name: str, *, who: str, reason: str | None) -> bool:
    """Admit no job of the limit any more; False: there is none, or it is paused already."""
    mine = update(LIMITS).where(LIMITS.c.name == name, LIMITS.c.paused.is_(None))
    values = {"paused": now(), "paused_by": who, "pause_reason": reason}
    return bool(connection.execute(mine.values(**values)).rowcount)


def resume(connection: Connection, name: str) -> bool:
    """Admit jobs of the limit again; False: there is none, or it is not paused."""
    mine = update(LIMITS).where(LIMITS.c.name == name, LIMITS.c.paused.is_not(None))
    return bool(connection.execute(mine.values(paused=None, paused_by=None, pause_reason=None)).rowcount)
