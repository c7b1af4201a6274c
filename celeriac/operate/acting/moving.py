"""Move jobs that wait to another queue or priority."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from celeriac.errors import BadArgument
from celeriac.ledger.operators import waiting_jobs
from celeriac.priorities import level_of, parse, priority_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac


def checked(app: Celeriac, queue: str | None, priority: int | str | None) -> dict[str, str | int]:
    """Where to move jobs, as the action keeps it.

    Raises:
        BadArgument: there is no such queue or priority, or none is named, or both contradict each other.
    """
    if queue is None and priority is None:
        raise BadArgument("queue", "name a queue, a priority, or both")
    found: dict[str, str | int] = {}
    if priority is not None:
        text = isinstance(priority, str) and priority.isdecimal() and len(priority) <= 3
        found["priority"] = parse(int(priority) if text else priority)
    if queue is not None:
        found["queue"] = app.amqp.queues.require(queue)
        level = app.amqp.queues.lanes.place(queue).level
        if level is not None and "priority" in found and level_of(int(found["priority"])) != level:
            raise BadArgument(
                "queue", f"{queue!r} is the level {level}; leave the priority out, or the level"
            )
    return found


def move(
    app: Celeriac,
    connection: Connection,
    ids: Sequence[UUID],
    *,
    queue: str | None = None,
    priority: int | None = None,
) -> set[UUID]:
    """Move those of ``ids`` that wait, in the transaction of ``connection``; return those that were moved."""
    to: dict[tuple[str, int], list[UUID]] = defaultdict(list)
    for row in waiting_jobs.places(connection, ids):
        place = _place(app, row.queue, row.priority, queue, priority)
        if place != (row.queue, row.priority):
            to[place].append(row.id)
    moved: set[UUID] = set()
    for (name, level), some in to.items():
        moved |= waiting_jobs.move(connection, some, queue=name, priority=level)
    return moved


def _place(
    app: Celeriac, old_queue: str, old_priority: int, queue: str | None, priority: int | None
) -> tuple[str, int]:
    """List and priority of a job: what is not given stays, as far as the other allows it."""
    lanes = app.amqp.queues.lanes
    lane, level = lanes.place(queue if queue is not None else lanes.place(old_queue).lane)
    new = old_priority if priority is None else priority
    if level is not None and level_of(new) != level:
        new = priority_of(level)
    return lanes.list_for(queue if queue is not None else lane, new), new
