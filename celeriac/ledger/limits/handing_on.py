"""Hand permits on: the jobs that end and the next of their lines in one transaction.

A permit that is given on so is in use all the time. It is done where it needs nobody else: only the line of
the job that ended waits for its permits, and nobody has their keys or the line. What is left is the keepers'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Select, Text, bindparam, func, select, true

from celeriac.ledger.connection.one_trip import Step, in_one_trip
from celeriac.ledger.limits import candidates, due_lines, lines, locked
from celeriac.ledger.limits.due_lines import DueLine
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.limits.locked import Locked
from celeriac.ledger.limits.marking import mark_step, messages_of
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.writes.claims import Message
from celeriac.limits.admission import Candidate, Room, decide
from celeriac.limits.permits import is_fair, is_order, limit_of, line_of_names

#: Jobs that are handed on at once.
_MOST = 100


@dataclass(frozen=True, slots=True)
class HandedOn:
    """
    Attributes:
        before: the rows of the statement that came first.
        messages: of the jobs that were admitted; to be sent once this is committed.
        done: permits of which nothing is left to be given on by others.
    """

    before: Sequence[Any]
    messages: list[Message]
    done: frozenset[str]


def may_hand_on(permits: Sequence[str], limits: Mapping[str, KnownLimit]) -> bool:
    """Whether a job's permits are of limits that hold few jobs, and have nothing but a concurrency."""
    known = [limits.get(limit_of(name)) for name in permits if not (is_fair(name) or is_order(name))]
    if not permits or len(known) < len(permits):
        return False
    plain = all(one is not None and one.pace is None and one.breaker is None for one in known)
    return plain and candidates.of_each_line(permits, limits) is not None


def hand_on(
    connection: Connection,
    before: Step,
    ended: Sequence[Sequence[str]],
    limits: Mapping[str, KnownLimit],
) -> HandedOn:
    """Execute ``before``, which ends jobs, and admit the next of their lines; then commit.

    PostgreSQL only, in a ``transaction_of_trips``. No lock is waited for, of which an outcome would be late.

    Args:
        ended: the permits of each job that ends, by name.
        limits: as they are known. What they hold is read again.
    """
    names = sorted({name for permits in ended for name in permits})
    ids = {line_of_names(permits) for permits in ended}
    most = candidates.of_each_line(names, limits) or 1
    which = batch.id_parameters("postgresql", sorted(ids)) | {"texts": names}
    first, rows, looked, others, *read = in_one_trip(
        connection,
        before,
        lines.lock_step("postgresql", names, skip=True),
        (_blocked(), which | {"most": most}),
        (_others(), which),
        *locked.behind("postgresql", names),
    )
    known = Locked.of(connection, lines.keys_of(rows), read)
    rooms = _rooms(known)
    left = {row[0] for row in others} | (set(names) - rooms.keys())
    due, found = _read(looked)
    due = [line for line in due if not left.intersection(line.permits)]
    if not due:
        return HandedOn(first, [], frozenset())
    decision = decide([found[line.id] for line in due], rooms, now=known.moment, most=_MOST)
    marked = [job.id for job in decision.admitted]
    marks = [mark_step("postgresql", marked)] if marked else []
    write = due_lines.write_step(connection, due, found, decision, known.moment)
    answers = in_one_trip(connection, *marks, write, commit=True)
    messages = messages_of(answers[0], marked, {}) if marked else []
    done = {name for line in due if line.id in decision.blocked for name in line.permits}
    return HandedOn(first, messages, frozenset(done))


def _read(rows: Sequence[Any]) -> tuple[list[DueLine], dict[UUID, list[Candidate]]]:
    columns = len(DueLine._fields)
    due = list({row[0]: DueLine(*row[:columns]) for row in rows}.values())
    places = {line.id: place for place, line in enumerate(due)}
    jobs = [(places[row[0]], *row[columns:]) for row in rows if row[columns] is not None]
    return due, candidates.by_line(jobs, due)


def _rooms(known: Locked) -> dict[str, Room]:
    """Of the permits that are locked, and whose limits have nothing but a concurrency now."""
    found = {}
    for name, key in known.keys.items():
        limit = known.limits.get(limit_of(name))
        rests = key.rests_until is not None and key.rests_until > known.moment
        if limit and not (limit.paused is not None or limit.pace or limit.breaker_is or rests):
            found[name] = Room(concurrency=limit.holds, used=known.used.get(name, 0))
    return found


@lru_cache
def _blocked() -> Select[Any]:
    """Those of some lines that are blocked, with the first due jobs of each."""
    c = LINES.c
    mine = (
        select(c.id, c.permit_1, c.permit_2, c.permit_3, c.turn, func.coalesce(c.due, now()).label("due"))
        .where(batch.id_in("postgresql", c.id), c.blocked_on == func.any(_texts()))
        .with_for_update(skip_locked=True)
        .subquery("mine")
    )
    each = lines.first_of(mine.c.id, bindparam("most")).correlate(mine).lateral("each")
    return select(*mine.c, *each.c).select_from(mine.outerjoin(each, true()))


@lru_cache
def _others() -> Select[Any]:
    """The permits for which other lines wait."""
    c = LINES.c
    waits = c.blocked_on == func.any(_texts())
    return select(c.blocked_on).where(waits, ~batch.id_in("postgresql", c.id)).distinct()


def _texts() -> Any:
    return bindparam("texts", type_=ARRAY(Text))
