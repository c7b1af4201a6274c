"""Where the dead letters of a group came from: which workers had them, of which version, for whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from celeriac.application import current_app
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import NO_WORKER
from celeriac.ledger.writes import dead_letters as ledger
from celeriac.operate.dead_letters import Cause

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Dead letters that are looked at: those that were accepted last.
MOST = 200

_NAMED = 10  # values of each kind, the most frequent


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One of the group, in a line."""

    id: str
    queue: str
    user_id: str | None
    worker: str | None  # that had its last attempt; None: none had, or its row is pruned
    version: str | None  # of the code that this worker ran, or else of Celeriac
    failed: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Of the newest dead letters of a group, how many had each value, the most frequent first."""

    newest: Sequence[DeadLetter]
    workers: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)


def origins(cause: Cause, *, app: Celeriac | None = None) -> Origins:
    """Where the newest ``MOST`` dead letters of a group came from."""
    with current_app(app).database.reading() as connection:
        rows = ledger.newest(
            connection,
            task=cause.task,
            exception_type=cause.exception_type,
            frame=cause.frame,
            limit=MOST,
        )
        ids: set[UUID] = {row.worker_id for row in rows if row.worker_id is not None}
        names = worker_rows.names(connection, ids)
    found = []
    for row in rows:
        worker = names.get(row.worker_id, NO_WORKER)
        found.append(
            DeadLetter(
                id=str(row.id),
                queue=row.queue,
                user_id=row.user_id,
                worker=worker.host,
                version=worker.code_version or worker.version,
                failed=row.finished,
            )
        )
    return Origins(
        newest=found,
        workers=_counted(each.worker for each in found),
        versions=_counted(each.version for each in found),
        users=_counted(each.user_id for each in found),
        queues=_counted(each.queue for each in found),
    )


def _counted(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(value for value in values if value is not None).most_common(_NAMED))
