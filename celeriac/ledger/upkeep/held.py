"""Hold the rows of what is paused, and give them back when it goes on.

A held row waits without a message, outside of the index through which the dispatcher looks. Each row is
written once when it is held and once when it is given back, however long the pause lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Select,
    String,
    Update,
    bindparam,
    cast,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.distinct_values import distinct_values
from celeriac.ledger.schema.holding import PauseKind, held_word, is_to_hold, parse_held, word_of_row
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.operator_tables import PAUSES
from celeriac.ledger.schema.state_conditions import is_waiting


@dataclass(frozen=True, slots=True)
class Paused:
    """What is paused, and what rows are held for."""

    queues: frozenset[str]
    tasks: frozenset[str]
    held: tuple[str, ...]  # the distinct values of the column

    @property
    def resumed(self) -> list[str]:
        """The words of rows that are held although what they wait for is not paused any more."""
        names = {held_word(PauseKind.QUEUE, name) for name in self.queues}
        names |= {held_word(PauseKind.TASK, name) for name in self.tasks}
        return [word for word in self.held if parse_held(word) is not None and word not in names]


def look(connection: Connection) -> Paused:
    """What is paused and what rows are held for, in one statement.

    The cost does not grow with the number of rows that are held.
    """
    found: dict[str, list[str]] = {kind: [] for kind in (PauseKind.QUEUE, PauseKind.TASK, _HELD)}
    for kind, name in connection.execute(_look()):
        if name is not None:
            found[kind].append(name)
    return Paused(
        frozenset(found[PauseKind.QUEUE]), frozenset(found[PauseKind.TASK]), tuple(sorted(found[_HELD]))
    )


def hold(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Hold those of ``ids`` that are due and whose queue or task is paused; return them.

    For jobs whose message was delivered; it must not be claimed. A row that is locked is left out.
    """
    dialect = connection.dialect.name
    return set(connection.execute(_hold(dialect), batch.id_parameters(dialect, ids)).scalars())


def give_back(connection: Connection, word: str, *, limit: int) -> int:
    """Let up to ``limit`` rows that are held for ``word`` be sent; return how many."""
    return connection.execute(_give_back(), {"word": word, "most": limit}).rowcount


_HELD = "held"


@lru_cache
def _look() -> CompoundSelect[Any]:
    held = select(literal(_HELD, String), distinct_values(JOBS.c.held).c.value)
    return union_all(select(cast(PAUSES.c.kind, String), cast(PAUSES.c.name, String)), held)


@lru_cache
def _hold(dialect: str) -> Update:
    due = or_(JOBS.c.next_attempt_after <= now(), JOBS.c.next_attempt_after <= JOBS.c.dispatched)
    waiting = in_order(batch.id_in(dialect, JOBS.c.id), is_waiting(by_id=True), due, is_to_hold(), skip=True)
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(waiting))
        .values(dispatched=null(), held=word_of_row())
        .returning(JOBS.c.id)
    )


@lru_cache
def _give_back() -> Update:
    chosen: Select[Any] = (
        select(JOBS.c.id)
        .where(JOBS.c.held == bindparam("word", type_=String))
        .order_by(JOBS.c.held, JOBS.c.id)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
    return update(JOBS).where(JOBS.c.id.in_(chosen)).values(held=null())
