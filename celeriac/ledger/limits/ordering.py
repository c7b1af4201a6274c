"""Orders: which job of a key is next. All jobs of an order's key are in one line.

The first that was accepted and has not ended is next, also while it waits for its next attempt. A parked row
is passed over: what it waits for may be of the same key.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, literal, select, true

from celeriac.ledger.limits.in_use import IN_LINE, NUMBERS
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import PARKED, Instant, Seconds, after, now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.schema.models import JOBS
from celeriac.limits.admission import Candidate, Decision
from celeriac.limits.limit import ORDERED
from celeriac.limits.order import STEP_ASIDE
from celeriac.limits.permits import Permit, is_order, limit_of


class Orders:
    """The lines among those that are looked at which are of an order."""

    def __init__(self, lines: Mapping[UUID, str], aside: frozenset[UUID]) -> None:
        self.lines = lines  # with the permit of each
        self._aside = aside
        self._waits: dict[UUID, Any] = {}  # those whose next job may not go yet, with that job

    @classmethod
    def among(cls, due: Sequence[Any], limits: Mapping[str, KnownLimit]) -> Orders:
        found = {line.id: str(line.permit_1) for line in due if is_order(line.permit_1)}
        known = {line: limits.get(limit_of(permit)) for line, permit in found.items()}
        aside = (line for line, limit in known.items() if limit and limit.on_failure == STEP_ASIDE)
        return cls(found, frozenset(aside))

    def permits(self, connection: Connection) -> set[str]:
        """What their next jobs take, to be locked."""
        heads = self._heads(connection).values()
        return {row[name] for row in heads for name in _PERMITS if row[name] is not None}

    def candidates(
        self, connection: Connection, *, known: Container[str], now: datetime
    ) -> dict[UUID, list[Candidate]]:
        """The next job of each, if it may go now.

        Args:
            known: the permits that are locked. A job that came first since then may take others.
        """
        found: dict[UUID, list[Candidate]] = {line: [] for line in self.lines}
        for line, row in self._heads(connection).items():
            takes = [(row[f"permit_{number}"], row[f"weight_{number}"]) for number in NUMBERS]
            permits = tuple(Permit(name, weight or 1) for name, weight in takes if name is not None)
            waits = row["dispatched"] is None and row["held"] is None and row["next_attempt_after"] <= now
            if waits and all(permit.name in known for permit in permits):
                found[line].append(Candidate(row["id"], line, row["priority"], permits))
            else:
                self._waits[line] = row
        return found

    def note(self, decision: Decision, marked: Sequence[UUID]) -> None:
        """Say of each line when to look at it again: its next job goes when this one has ended."""
        gone = set(marked)
        for job in decision.admitted:
            if job.line in self.lines and job.id in gone:
                decision.blocked[job.line] = self.lines[job.line]
        for line, row in self._waits.items():
            if row["dispatched"] is not None:
                decision.blocked[line] = self.lines[line]
            elif row["held"] is not None:
                decision.idle.add(line)
            else:
                decision.later[line] = row["next_attempt_after"]

    def _heads(self, connection: Connection) -> dict[UUID, Any]:
        ordinary = [line for line in self.lines if line not in self._aside]
        found = heads(connection, ordinary, steps_aside=False)
        return found | heads(connection, sorted(self._aside), steps_aside=True)


def heads(connection: Connection, lines: Sequence[UUID], *, steps_aside: bool) -> dict[UUID, Any]:
    """The job of each of these lines that is next; one is missing where none is.

    Args:
        steps_aside: only among those that wait and are due.
    """
    if not lines:
        return {}
    dialect = connection.dialect.name
    if dialect != "postgresql":
        one = _head(steps_aside)
        found = [row for line in lines for row in connection.execute(one, {"of": line})]
    else:
        rows = batch.table_parameters(dialect, _IDS, [{"id": line} for line in lines])
        found = list(connection.execute(_head_of_each(dialect, steps_aside), rows))
    return {row.line: row._mapping for row in found}


def before(connection: Connection, job: Any, *, most: int) -> tuple[int, Any]:
    """How many unfinished jobs of its key come before ``job``, up to ``most``; and the first of them."""
    c = JOBS.c
    sooner = (c.queued < job.queued) | and_(c.queued == job.queued, c.id < job.id)
    earlier = and_(_UNFINISHED, c.line == job.line, sooner)
    count = select(func.count()).select_from(select(c.id).where(earlier).limit(most).subquery())
    first = select(c.id, c.state, c.next_attempt_after, c.failure_info).where(earlier)
    row = connection.execute(first.order_by(c.queued, c.id).limit(1)).one_or_none()
    return int(connection.execute(count).scalar_one()), row


@dataclass(frozen=True, slots=True)
class HeldUp:
    """A key whose next job failed, and waits for its next attempt while others wait for it."""

    permit: str
    job: UUID
    again: datetime  # when it is tried again
    failure: str | None
    others: int  # that wait, up to the number that was asked for


def held_up(connection: Connection, *, beyond: float, keys: int, most: int) -> list[HeldUp]:
    """Up to ``keys`` keys whose next job failed and is tried again in more than ``beyond`` seconds."""
    c, late = LINES.c, after(bindparam("beyond", type_=Seconds))
    chosen = select(c.id, c.permit_1).where(c.due > late, c.permit_1.startswith(ORDERED, autoescape=True))
    permits = {row.id: row.permit_1 for row in connection.execute(chosen.limit(keys), {"beyond": beyond})}
    found = []
    for line, row in heads(connection, sorted(permits), steps_aside=False).items():
        if row["state"] != JobState.ERROR or row["dispatched"] is not None:
            continue
        others = select(JOBS.c.id).where(_UNFINISHED, JOBS.c.line == line, JOBS.c.id != row["id"]).limit(most)
        count = connection.execute(select(func.count()).select_from(others.subquery())).scalar_one()
        if count:
            again, failure = row["next_attempt_after"], row["failure_info"]
            found.append(HeldUp(permits[line], row["id"], again, failure, int(count)))
    return found


_IDS: dict[str, Any] = {"id": JOBS.c.line.type}
_PERMITS = tuple(f"permit_{number}" for number in NUMBERS)
_UNFINISHED = and_(
    JOBS.c.ordered.is_not(None),
    JOBS.c.finished.is_(None),
    JOBS.c.next_attempt_after < literal(PARKED, Instant),
)


def _first(line: Any, steps_aside: bool) -> Select[Any]:
    c = JOBS.c
    columns = (c.id, c.line, c.priority, c.dispatched, c.held, c.next_attempt_after, c.state, c.failure_info)
    takes = (c[f"{what}_{number}"] for number in NUMBERS for what in ("permit", "weight"))
    mine: ColumnElement[bool] = and_(_UNFINISHED, c.line == line)
    if steps_aside:
        mine = and_(mine, IN_LINE, c.next_attempt_after <= select(now()).scalar_subquery())
    return select(*columns, *takes).where(mine).order_by(c.queued, c.id).limit(1)


@lru_cache
def _head(steps_aside: bool) -> Select[Any]:
    return _first(bindparam("of", type_=JOBS.c.line.type), steps_aside)


@lru_cache
def _head_of_each(dialect: str, steps_aside: bool) -> Select[Any]:
    given = batch.as_table(dialect, _IDS)
    each = _first(given.c.id, steps_aside).correlate(given).lateral("each")
    return select(*each.c).select_from(given.join(each, true()))
