"""Claim jobs whose limits have a rate: as many as may start now, on the locked keys of their permits.

Admission sends such a job a little ahead, and its message says when its start is planned. Whether it may
start is decided here: what piled up in a frozen worker does not start beside what others have started.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, and_, bindparam, null, select, update

from celeriac.ledger.limits import limit_rows, lines
from celeriac.ledger.limits.in_use import NUMBERS
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import microseconds
from celeriac.ledger.schema.limit_tables import PERMIT_KEYS
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.claims import Claimed
from celeriac.limits.permits import Permit, limit_of
from celeriac.limits.rate import HORIZON, Rate


@dataclass(slots=True)
class Started:
    """
    Attributes:
        won: the jobs that were claimed.
        waits: those that may start soon, with the seconds until then.
        ahead: seconds from the monotonic clock to the database's.
        freed: what others have given back: their start is too far away, and they wait in their lines again.
    """

    won: dict[UUID, Claimed] = field(default_factory=dict)
    waits: dict[UUID, float] = field(default_factory=dict)
    freed: set[str] = field(default_factory=set)
    ahead: float = 0.0


def claim(connection: Connection, jobs: Mapping[UUID, int | None], *, worker: UUID) -> Started:
    """Claim those of ``jobs`` that may start now, in the order in which they were given.

    Args:
        jobs: with the dispatch count of their message; of an old copy it may be any.
    """
    dialect, started = connection.dialect.name, Started()
    found = connection.execute(_sent(dialect), batch.id_parameters(dialect, list(jobs)))
    rows = {row.id: row for row in found}
    taken = {job: _permits(rows[job]) for job in jobs if job in rows}
    locked = lines.lock_known_keys(connection, [permit.name for takes in taken.values() for permit in takes])
    began = time.monotonic()
    keys = _Keys.read(connection, locked)
    started.ahead = microseconds(keys.now) / 1e6 - (began + time.monotonic()) / 2
    back, may_start = [], []
    for job, permits in taken.items():
        wait = keys.wait(permits)
        if wait is None:
            back.append(rows[job])
        elif wait <= 0:
            keys.take(permits)
            may_start.append(job)
        else:
            keys.plan(permits)
            started.waits[job] = wait
    started.won = claims.claim(connection, may_start, worker=worker) if may_start else {}
    keys.write(connection)
    if back := [row for row in back if row.dispatch_count == jobs[row.id]]:
        connection.execute(_put_back(dialect), batch.id_parameters(dialect, [row.id for row in back]))
        lines.look_at(connection, {row.line for row in back})
        started.freed = {permit.name for row in back for permit in taken[row.id]}
    return started


@dataclass(slots=True)
class _Keys:
    """The locked keys, and when each of them lets the next job start."""

    now: datetime
    rates: dict[str, Rate | None]
    shut: set[str]
    next_starts: dict[str, datetime | None]
    planned: dict[str, int] = field(default_factory=dict)  # starts of jobs that wait here
    changed: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, connection: Connection, keys: Mapping[str, Any]) -> _Keys:
        limits, moment = limit_rows.read_with_clock(connection)
        found = {name: limits.get(limit_of(name)) for name in keys}
        shut = {name for name, limit in found.items() if _is_shut(limit, keys[name], moment)}
        rates = {name: limit.pace if limit else None for name, limit in found.items()}
        return cls(moment, rates, shut, {name: key.next_start for name, key in keys.items()})

    def wait(self, permits: Sequence[Permit]) -> float | None:
        """Seconds until a job may start; None: too long, or nobody knows."""
        if any(permit.name in self.shut for permit in permits):
            return None
        opens = [
            rate.opens(self.next_starts[name], self.now, starts) + rate.every * self.planned.get(name, 0)
            for name, rate, starts in self._paced(permits)
        ]
        wait = max([self.now, *opens]) - self.now
        return None if wait > HORIZON else wait.total_seconds()

    def take(self, permits: Sequence[Permit]) -> None:
        for name, rate, starts in self._paced(permits):
            self.next_starts[name] = rate.after(self.next_starts[name], self.now, starts)
            self.changed.add(name)

    def plan(self, permits: Sequence[Permit]) -> None:
        for name, _, starts in self._paced(permits):
            self.planned[name] = self.planned.get(name, 0) + starts

    def write(self, connection: Connection) -> None:
        if self.changed:
            rows = [{"key": name, "next": self.next_starts[name]} for name in sorted(self.changed)]
            connection.execute(_write_key(), rows)

    def _paced(self, permits: Sequence[Permit]) -> list[tuple[str, Rate, int]]:
        found = ((permit.name, self.rates[permit.name], permit.weight) for permit in permits)
        return [(name, rate, min(weight, rate.burst)) for name, rate, weight in found if rate is not None]


def _is_shut(limit: KnownLimit | None, key: Any, moment: datetime) -> bool:
    if limit is None or limit.paused is not None or limit.is_open:
        return True
    return key.rests_until is not None and bool(key.rests_until > moment)


def _permits(row: Any) -> list[Permit]:
    values = row._mapping
    takes = ((values[f"permit_{number}"], values[f"weight_{number}"]) for number in NUMBERS)
    return [Permit(name, weight or 1) for name, weight in takes if name is not None]


_SENT = and_(is_waiting(by_id=True), JOBS.c.line.is_not(None), JOBS.c.dispatched.is_not(None))


@lru_cache
def _sent(dialect: str) -> Select[Any]:
    c = JOBS.c
    takes = (c[f"{what}_{number}"] for number in NUMBERS for what in ("permit", "weight"))
    return select(c.id, c.line, c.dispatch_count, *takes).where(batch.id_in(dialect, c.id), _SENT)


@lru_cache
def _put_back(dialect: str) -> Update:
    return update(JOBS).where(batch.id_in(dialect, JOBS.c.id), _SENT).values(dispatched=null())


@lru_cache
def _write_key() -> Update:
    next_start = bindparam("next", type_=PERMIT_KEYS.c.next_start.type)
    mine = PERMIT_KEYS.c.name == bindparam("key", type_=PERMIT_KEYS.c.name.type)
    return update(PERMIT_KEYS).where(mine).values(next_start=next_start)
