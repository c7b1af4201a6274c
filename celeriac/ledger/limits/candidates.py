"""Candidates: the first due jobs of lines, in the order in which they go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Integer, Select, bindparam, select, true

from celeriac.ledger.connection.one_trip import Step, in_one_trip
from celeriac.ledger.limits import lines
from celeriac.ledger.limits.due_lines import DueLine
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.schema.models import JOBS
from celeriac.limits.admission import Candidate, Room
from celeriac.limits.permits import Permit, limit_of

#: Candidates of each line, at least: the first that may go, and the one that tells that its line is full.
_OF_A_LINE = 2

#: So many of a line are read before it is known how many permits are free: another trip costs more.
_FEW = 32

#: So many of all lines together: others are as many as what one transaction admits, at most.
_FEW_OF_ALL = 2_000

#: And so many, before it is known which lines there are.
_FEW_OF_EACH = 21


def whatever_is_in_use(due: Sequence[DueLine], limits: Mapping[str, KnownLimit]) -> dict[UUID, int] | None:
    """How many candidates of each line are enough, if nothing were in use; None: that may be many."""
    mosts = {line.id: 1 + min([_holds(limits.get(limit_of(name))) for name in line.permits]) for line in due}
    is_few = mosts and max(mosts.values()) <= _FEW and sum(mosts.values()) <= _FEW_OF_ALL
    return mosts if is_few else None


def of_each_line(permits: Iterable[str], limits: Mapping[str, KnownLimit]) -> int | None:
    """The same for lines that wait for these permits, whichever they are."""
    most = 1 + max((_holds(limits.get(limit_of(name))) for name in permits), default=0)
    return most if most <= _FEW_OF_EACH else None


def with_room(due: Sequence[DueLine], rooms: Mapping[str, Room], *, most: int) -> dict[UUID, int]:
    """How many candidates of each line are enough: as many as there is room for, and one more.

    Args:
        most: of all lines together, if each has that many: some do not get what they are to take.
    """
    each = min(most // 2 + 1, max(_OF_A_LINE, most // max(1, len(due))))
    return {line.id: min(each, 1 + min(rooms[name].slots for name in line.permits)) for line in due}


def find(connection: Connection, mosts: Mapping[UUID, int]) -> Sequence[Any]:
    """The rows of the first due jobs of each line; ``by_line`` reads them."""
    if not mosts:
        return []
    if connection.dialect.name == "postgresql":
        return in_one_trip(connection, step(mosts))[0]
    found: list[Any] = []
    for place, (line, most) in enumerate(mosts.items()):
        rows = connection.execute(_first(), {"of": line, "most": most})
        found += [(place, *row) for row in rows]
    return found


def step(mosts: Mapping[UUID, int]) -> Step:
    """The statement of ``find`` on PostgreSQL."""
    rows = [{"place": place, "id": line, "most": mosts[line]} for place, line in enumerate(mosts)]
    return _first_of_each(), batch.table_parameters("postgresql", _WANTED, rows)


def by_line(rows: Sequence[Any], due: Sequence[DueLine]) -> dict[UUID, list[Candidate]]:
    """The candidates of these lines, which were asked for in this order."""
    found: list[list[Candidate]] = [[] for _ in due]
    names = [line.permits for line in due]
    light = [tuple([Permit(name, 1) for name in each]) for each in names]
    for place, job, priority, *weights in rows:
        permits = light[place]
        if weights != _LIGHT:
            takes = zip(names[place], weights, strict=False)
            permits = tuple([Permit(name, weight or 1) for name, weight in takes])
        found[place].append(Candidate(job, due[place].id, priority, permits))
    return {line.id: jobs for line, jobs in zip(due, found, strict=True)}


def _holds(limit: KnownLimit | None) -> int:
    if limit is None:  # nothing of it goes
        return 0
    return _FEW if limit.holds is None else limit.holds


#: The weights of most jobs: of a single limit.
_LIGHT = [1, None, None]

_WANTED: dict[str, Any] = {"place": Integer(), "id": LINES.c.id.type, "most": Integer()}


@lru_cache
def _first() -> Select[Any]:
    return lines.first_of(bindparam("of", type_=JOBS.c.line.type), bindparam("most"))


@lru_cache
def _first_of_each() -> Select[Any]:
    given = batch.as_table("postgresql", _WANTED)
    each = lines.first_of(given.c.id, given.c.most).correlate(given).lateral("each")
    return select(given.c.place, *each.c).select_from(given.join(each, true()))
