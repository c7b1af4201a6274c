"""Priorities, their queues, and the order in which workers consume them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from celeriac.errors import BadArgument

LOWEST, HIGHEST = 0, 100


class Priority(IntEnum):
    """The levels that have a queue of their own; any integer from 0 to 100 is a priority."""

    LOW = 0
    NORMAL = 10
    HIGH = 20
    CRITICAL = 30

    @property
    def queue(self) -> str:
        return self.name.lower()


#: The queues, most important first: the order in which a worker consumes.
QUEUES = tuple(level.queue for level in sorted(Priority, reverse=True))

#: Celery's default queue, to which other apps send. The jobs of its messages are adopted into the ledger.
FOREIGN = "celery"

#: The lists of that queue: kombu has one for each priority step.
FOREIGN_LISTS = (FOREIGN, *(f"{FOREIGN}\x06\x16{step}" for step in (3, 6, 9)))

_BY_NAME = {level.queue: level for level in Priority}


def parse(value: object) -> int:
    """A priority from its name or number.

    >>> parse("high"), parse(25)
    (20, 25)

    Raises:
        BadArgument: neither one of the names nor an integer from 0 to 100.
    """
    if isinstance(value, str) and value.lower() in _BY_NAME:
        return int(_BY_NAME[value.lower()])
    if isinstance(value, int) and not isinstance(value, bool) and LOWEST <= value <= HIGHEST:
        return int(value)
    names = ", ".join(_BY_NAME)
    raise BadArgument(
        "priority", f"wanted one of {names} or an integer from {LOWEST} to {HIGHEST}, found {value!r}"
    )


def queue_of(priority: int) -> str:
    """The queue of the highest level at or below ``priority``.

    >>> queue_of(9), queue_of(10), queue_of(100)
    ('low', 'normal', 'critical')
    """
    return max(level for level in Priority if level <= priority).queue


def priority_of(queue: str) -> int:
    """The priority of a job that names its queue and no priority; normal for a queue of the user's own."""
    return int(_BY_NAME.get(queue, Priority.NORMAL))


def route(
    name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any = None, **_: Any
) -> dict[str, Any] | None:
    """Celery's router: a message without a queue goes to the queue of its priority."""
    if options.get("queue") or options.get("exchange") or options.get("routing_key"):
        return None
    priority = options.get("priority")
    return {"queue": queue_of(parse(Priority.NORMAL if priority is None else priority))}
