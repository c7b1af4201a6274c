"""Priorities, and the levels to which they belong."""

from __future__ import annotations

from enum import IntEnum
from functools import cache

from celeriac.errors import BadArgument

LOWEST, HIGHEST = 0, 100


class Priority(IntEnum):
    """The levels, each with a list of its own in every lane; any integer from 0 to 100 is a priority."""

    LOW = 0
    NORMAL = 10
    HIGH = 20
    CRITICAL = 30

    @property
    def queue(self) -> str:
        return self.name.lower()


#: The levels, most important first: the order in which a worker draws.
LEVELS = tuple(level.queue for level in sorted(Priority, reverse=True))

#: The lists of the default lane. Those of another lane have its name before them: ``gpu.high``.
QUEUES = LEVELS

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


@cache
def level_of(priority: int) -> str:
    """The highest level at or below ``priority``.

    >>> level_of(9), level_of(10), level_of(100)
    ('low', 'normal', 'critical')
    """
    return max(level for level in Priority if level <= priority).queue


def priority_of(queue: str) -> int:
    """The priority of a job that names its queue and no priority; normal where no level is named.

    >>> priority_of("high"), priority_of("gpu.low"), priority_of("gpu")
    (20, 0, 10)
    """
    return int(_BY_NAME.get(queue.rpartition(".")[2], Priority.NORMAL))
