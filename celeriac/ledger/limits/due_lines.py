"""Lines that are due: which of them a look takes, and what it writes when it has seen their jobs."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, Update, bindparam, select, true, update

from celeriac.ledger.connection.one_trip import Step, in_one_trip
from celeriac.ledger.limits import lines, locked
from celeriac.ledger.limits.locked import Locked
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import evaluated_once, from_microseconds, microseconds, now
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.schema.models import JOBS
from celeriac.limits.admission import Candidate, Decision

#: Lines that one transaction looks at.
MOST_LINES = 250

#: Lines that one permit wakes which was given back, at most.
MOST_WOKEN = 100

#: Lines that became due before the last look may be committed after it: for so long. Seconds between two
#: looks from the very beginning, for what took longer.
_LATE, _FROM_THE_START = timedelta(seconds=1), 5.0

_EPOCH = from_microseconds(0)


class DueLine(NamedTuple):
    """A line that a look has taken. Nobody else looks at it until the transaction ends."""

    id: UUID
    permit_1: str
    permit_2: str | None
    permit_3: str | None
    turn: int
    due: datetime

    @property
    def permits(self) -> list[str]:
        if self.permit_2 is None:  # as a rule
            return [self.permit_1]
        return [name for name in self[1:4] if name is not None]


_COLUMNS = len(DueLine._fields)


class Front:
    """The moment from which on lines are due, as far as one who looks again and again knows.

    While a transaction is open that began long ago, entries of lines that were due stay in the index. A look
    from the beginning would read all of them each time.

    Attributes:
        is_more: whether the last look may have left something that may go now.
    """

    def __init__(self) -> None:
        self._since, self._began_at = _EPOCH, float("-inf")
        self.is_more = False

    def since(self) -> datetime:
        """From where to look now."""
        if time.monotonic() - self._began_at >= _FROM_THE_START:
            self._since, self._began_at = _EPOCH, time.monotonic()
        return self._since

    def seen(self, due: Sequence[DueLine]) -> None:
        """Note the lines of the last look, in the order in which they became due."""
        if due:
            self._since = max(self._since, due[0].due - _LATE)
        self.is_more = len(due) >= MOST_LINES


@dataclass(frozen=True, slots=True)
class Woken:
    """What a look finds that wakes the lines of permits which were given back.

    Attributes:
        due: the lines that are due, by turn.
        locked: what is known of these permits.
        first: the first due jobs of each line, if they were read along; None: they were not.
    """

    due: list[DueLine]
    locked: Locked
    first: Mapping[UUID, list[Any]] | None


def take(connection: Connection, front: Front | None) -> list[DueLine]:
    """The lines that are due for the longest time, by turn."""
    (rows,) = in_one_trip(connection, _look(front))
    return _by_turn([DueLine(*row) for row in rows], front)


def wake_and_take(
    connection: Connection, front: Front | None, freed: Collection[str], *, most: int | None
) -> Woken:
    """Lock the keys of permits, make the lines due that they block, and take what is due, by turn.

    Args:
        freed: the permits that were given back.
        most: jobs of each line that are read along, if that is known.
    """
    names, dialect = sorted(set(freed)), connection.dialect.name
    look, behind = _look(front, along=most), locked.behind(dialect, names)
    rooms = dict.fromkeys(names, MOST_WOKEN)
    if dialect == "postgresql":
        mine = lines.lock_step(dialect, names)
        rows, _, *found = in_one_trip(connection, mine, lines.wake_step(dialect, rooms), look, *behind)
        keys = lines.keys_of(rows)
    if dialect != "postgresql" or len(keys) < len(names):  # a key was pruned: it is made, and locked
        keys = lines.lock_keys(connection, names)
        lines.wake(connection, rooms)
        found = in_one_trip(connection, look, *behind)
    taken, *read = found
    due = list({row[0]: DueLine(*row[:_COLUMNS]) for row in taken}.values())
    first: dict[UUID, list[Any]] = {line.id: [] for line in due}
    for row in taken:
        if most is not None and row[_COLUMNS] is not None:
            first[row[0]].append(row[_COLUMNS:])
    return Woken(_by_turn(due, front), Locked.of(connection, keys, read), None if most is None else first)


def _look(front: Front | None, *, along: int | None = None) -> Step:
    values = {"most": MOST_LINES, "since": _EPOCH if front is None else front.since()}
    return (_due_for_longest(), values) if along is None else (_due_with_first(), values | {"first": along})


def _by_turn(due: list[DueLine], front: Front | None) -> list[DueLine]:
    if front is not None:
        front.seen(sorted(due, key=lambda line: line.due))
    return sorted(due, key=lambda line: line.turn)


def write_step(
    connection: Connection,
    due: Sequence[DueLine],
    candidates: Mapping[UUID, Sequence[Candidate]],
    decision: Decision,
    moment: datetime,
) -> Step:
    """The statement that says of each line when to look at it again, or on which permit it is blocked."""
    got = {job.line for job in decision.admitted}
    idle = decision.blocked.keys() | decision.idle | decision.later.keys()
    heads = _heads_due(
        connection, [line.id for line in due if line.id not in idle and not candidates[line.id]]
    )
    turn, rows = microseconds(moment), []
    for line in due:
        later = decision.later.get(line.id)
        if line.id not in idle:
            head = moment if candidates[line.id] else heads[line.id]
            later = None if head is None else max(head, moment)
        elif later is not None and later <= moment and line.id not in got:
            later = line.due  # there was no time for it: it keeps its place
        rows.append(
            {
                "id": line.id,
                "due": later,
                "blocked_on": decision.blocked.get(line.id),
                "turn": turn if line.id in got else line.turn,
            }
        )
    dialect = connection.dialect.name
    return _write_all(dialect), batch.table_parameters(dialect, _LOOKED_AT, rows)


def _heads_due(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, datetime | None]:
    """When the first job of each of these lines is due; None: nothing waits in it."""
    if not ids:
        return {}
    dialect = connection.dialect.name
    rows = batch.table_parameters(dialect, _IDS, [{"id": line} for line in ids])
    return {row.id: row.due for row in connection.execute(_soonest_of_each(dialect), rows)}


_IDS: dict[str, Any] = {"id": LINES.c.id.type}
_LOOKED_AT: dict[str, Any] = {name: LINES.c[name].type for name in ("id", "due", "blocked_on", "turn")}


@lru_cache
def _due_for_longest() -> Select[Any]:
    """One search of the index by ``due``, however many lines are due or will be."""
    c = LINES.c
    since = bindparam("since", type_=c.due.type)
    return (
        select(c.id, c.permit_1, c.permit_2, c.permit_3, c.turn, c.due)
        .where(c.due >= since, c.due <= evaluated_once(now()))
        .order_by(c.due)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


@lru_cache
def _due_with_first() -> Select[Any]:
    """The same lines, with the first due jobs of each. A line without one has a row of its own."""
    due = _due_for_longest().subquery("due")
    each = lines.first_of(due.c.id, bindparam("first")).correlate(due).lateral("each")
    return select(*due.c, *each.c).select_from(due.outerjoin(each, true()))


@lru_cache
def _write_all(dialect: str) -> Update:
    given = batch.as_table(dialect, _LOOKED_AT).c
    written = {"due": given.due, "blocked_on": given.blocked_on, "turn": given.turn, "touched": now()}
    return update(LINES).where(LINES.c.id == given.id).values(written)


@lru_cache
def _soonest_of_each(dialect: str) -> Select[Any]:
    given = batch.as_table(dialect, _IDS)
    first = lines.soonest(JOBS.c.line == given.c.id).correlate(given).scalar_subquery()
    return select(given.c.id, first.label("due"))
