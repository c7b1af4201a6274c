"""The rows of paused queues and tasks: who paused what, since when and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from celeriac.ledger.schema.columns import insert_of, now
from celeriac.ledger.schema.holding import PauseKind
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.operator_tables import PAUSES


@dataclass(frozen=True, slots=True)
class PauseRow:
    """A paused queue or task."""

    kind: PauseKind
    name: str  # of the list, or of the task
    since: datetime
    who: str
    reason: str | None


def pause(
    connection: Connection, kind: PauseKind, names: Sequence[str], *, who: str, reason: str | None
) -> list[str]:
    """Pause them; return those that were not paused before. The others keep their who and why."""
    insert_into = insert_of(connection.dialect.name)
    made = []
    for name in sorted(names):
        values = {"kind": kind, "name": name, "since": now(), "who": who, "reason": reason}
        statement = insert_into(PAUSES).values(values).on_conflict_do_nothing(index_elements=["kind", "name"])
        found = connection.execute(statement.returning(PAUSES.c.name)).scalars()
        made += list(found)
    return made


def resume(connection: Connection, kind: PauseKind, names: Sequence[str]) -> list[str]:
    """Let them go on; return those that were paused."""
    mine = (PAUSES.c.kind == kind, PAUSES.c.name.in_(sorted(names)))
    found = connection.execute(delete(PAUSES).where(*mine).returning(PAUSES.c.name)).scalars()
    return sorted(found)


def rows(connection: Connection) -> list[PauseRow]:
    """What is paused: queues, then tasks, by name."""
    c = PAUSES.c
    found = connection.execute(select(c.kind, c.name, c.since, c.who, c.reason).order_by(c.kind, c.name))
    return [PauseRow(PauseKind(kind), *rest) for kind, *rest in found]


def is_of_ledger(connection: Connection, kind: PauseKind, names: Sequence[str]) -> bool:
    """Whether the ledger has a job of one of these queues or tasks."""
    column = JOBS.c.queue if kind is PauseKind.QUEUE else JOBS.c.job_type
    # One search of an index for each name: a list of names might be read as a reason to read the table.
    asked = (select(JOBS.c.id).where(column == name).order_by(JOBS.c.queued).limit(1) for name in names)
    return any(connection.execute(one).first() is not None for one in asked)
