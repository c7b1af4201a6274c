"""Lanes: queues of a team's own, each with the four levels. What the name of a queue or of a list says.

A lane (``gpu``) has a list in the broker for each level (``gpu.critical`` … ``gpu.low``). Those of the
default lane are ``critical``, ``high``, ``normal`` and ``low``. A row keeps the name of its list, and lane
and level follow from it. Plain Celery producers know no levels: they send to ``gpu``, and to lists that kombu
has for its own priorities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from celeriac.errors import BadArgument
from celeriac.names import NAME_LENGTH, check_text
from celeriac.priorities import LEVELS, Priority, level_of

#: The name of the default lane; ``celery``, which Celery calls it, is another one.
DEFAULT, CELERYS = "default", "celery"

#: The longest name of a lane: its lists' names are longer, and must fit into the row.
LANE_LENGTH = NAME_LENGTH - max(map(len, LEVELS)) - 1

#: How kombu names a queue's lists for its own priorities. Zero, the most important, has the bare name.
_SEPARATOR, _STEPS = "\x06\x16", (3, 6, 9)

#: Names that are kept in memory; a project may make queues without end.
_KNOWN = 4096


class Place(NamedTuple):
    """Where a name leads: a lane, and one of its levels. None: the level follows from the priority."""

    lane: str
    level: str | None


@lru_cache(_KNOWN)
def place_of(name: str) -> Place:
    """What a name says, whatever is declared.

    >>> place_of("gpu.high"), place_of("high"), place_of("gpu")
    (Place(lane='gpu', level='high'), Place(lane='default', level='high'), Place(lane='gpu', level=None))
    """
    lane, dot, level = name.rpartition(".")
    if level not in LEVELS:
        return Place(name, None)
    return Place(lane if dot else DEFAULT, level)


def check(name: object, *, option: str = "queue") -> str:
    """``name``, checked: a lane, or a level in one.

    >>> check("gpu"), check("gpu.high")
    ('gpu', 'gpu.high')

    Raises:
        BadArgument: it cannot be the name of a queue.
    """
    text = check_text(option, name, length=NAME_LENGTH)
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        raise BadArgument(option, f"wanted a name without control characters, found {text!r}")
    lane = place_of(text).lane
    if not lane or place_of(lane).level is not None:
        levels = ", ".join(LEVELS)
        raise BadArgument(option, f"a lane's name must not be or end in a level ({levels}), found {lane!r}")
    if len(lane) > LANE_LENGTH:
        raise BadArgument(option, f"a lane's name has at most {LANE_LENGTH} characters, found {len(lane)}")
    return text


def rows_of(name: str) -> tuple[str, ...]:
    """What rows may have for their queue that are in the lane ``name``, or in one level.

    >>> rows_of("gpu.high"), rows_of("gpu")
    (('gpu.high',), ('gpu.critical', 'gpu.high', 'gpu.normal', 'gpu.low', 'gpu'))
    """
    lane, level = place_of(name)
    if level is not None:
        return (list_of(lane, level),)
    return (*(list_of(lane, each) for each in LEVELS), *((DEFAULT, CELERYS) if lane == DEFAULT else (lane,)))


@dataclass(frozen=True, slots=True)
class Lanes:
    """What the names of queues mean in one app.

    Attributes:
        celery_is_apart: whether ``celery`` is a lane of its own, because the app has declared it beside
            ``default``. Elsewhere both are names of the default lane.
    """

    celery_is_apart: bool = False

    @classmethod
    def among(cls, declared: Iterable[str]) -> Lanes:
        """As ``task_queues`` declares them."""
        return cls(celery_is_apart={DEFAULT, CELERYS} <= set(declared))

    def place(self, name: str) -> Place:
        """Where ``name`` leads in this app.

        >>> Lanes().place("celery"), Lanes(celery_is_apart=True).place("celery.low")
        (Place(lane='default', level=None), Place(lane='celery', level='low'))
        """
        found = place_of(name)
        if found.lane == CELERYS and not self.celery_is_apart:
            return Place(DEFAULT, found.level)
        return found

    def level(self, name: str) -> str:
        """The level of the list ``name``; normal for a list of plain Celery's, which has none."""
        return place_of(name).level or Priority.NORMAL.queue

    def lists(self, name: str) -> tuple[str, ...]:
        """The lists that ``name`` stands for, the most important first: four of a lane, one of a level.

        >>> Lanes().lists("gpu"), Lanes().lists("default.high")
        (('gpu.critical', 'gpu.high', 'gpu.normal', 'gpu.low'), ('high',))
        """
        lane, level = self.place(name)
        return tuple(list_of(lane, each) for each in ((level,) if level else LEVELS))

    def list_for(self, name: str, priority: int | None = None) -> str:
        """The list of a job that is sent to ``name`` with ``priority``. A level that is named stays.

        >>> Lanes().list_for("gpu", 25), Lanes().list_for("gpu.low", 25), Lanes().list_for("celery")
        ('gpu.high', 'gpu.low', 'normal')
        """
        lane, level = self.place(name)
        return list_of(lane, level or level_of(Priority.NORMAL if priority is None else priority))

    def bare(self, lane: str) -> tuple[str, ...]:
        """The lists without a level to which plain Celery producers of ``lane`` send."""
        if lane == DEFAULT:
            return (DEFAULT,) if self.celery_is_apart else (CELERYS, DEFAULT)
        return (lane,)

    def foreign(self, own: str) -> tuple[str, ...]:
        """All lists of plain Celery producers that are drawn by who draws from the list ``own``.

        >>> [name.replace(_SEPARATOR, "+") for name in Lanes().foreign("gpu.normal")]
        ['gpu', 'gpu+3', 'gpu+6', 'gpu+9']
        >>> Lanes().foreign("gpu.low")
        ()
        """
        lane, level = self.place(own)
        names = self.bare(lane) if level == Priority.NORMAL.queue else ()
        steps = (own, *names) if lane == DEFAULT else names  # a project may have had a queue called ``high``
        return (*names, *(f"{name}{_SEPARATOR}{step}" for name in steps for step in _STEPS))

    def with_bare(self, lists: Iterable[str]) -> list[str]:
        """``lists``, and behind each the bare ones that are drawn with it: rows of old may name them."""
        return [
            name
            for own in lists
            for name in (own, *(each for each in self.foreign(own) if _SEPARATOR not in each))
        ]

    def lane_of_list(self, name: str) -> str:
        """The lane to which a list of the broker belongs, plain Celery's lists included."""
        return self.place(name.partition(_SEPARATOR)[0]).lane


class Drawn(NamedTuple):
    """A list that a worker draws from.

    Attributes:
        consumer: the list that Celery consumes, to whose consumer its messages go.
        place: the list in whose stead it is, for jobs that are adopted from it.
    """

    name: str
    consumer: str
    place: str


def draw_order(lists: Sequence[str], *, foreign: Lanes | None) -> list[Drawn]:
    """All lists in the order in which they are drawn: the level first, then the order of ``lists``.

    Those of plain Celery producers stand behind the level normal.

    Args:
        foreign: whose lists of plain Celery producers are drawn, too; None: no one's.
    """
    found: dict[str, tuple[tuple[int, int], Drawn]] = {}
    for own in lists:
        level = place_of(own).level
        rank = LEVELS.index(level or Priority.NORMAL.queue)
        found[own] = (rank, 0 if level else 1), Drawn(own, own, own)
        if foreign is None:
            continue
        for name in foreign.foreign(own):
            later = _SEPARATOR in name and level == Priority.NORMAL.queue  # than what has no priority
            place = list_of(foreign.place(own).lane, LEVELS[-1]) if later else own
            found[name] = (rank, 3 if later else 2), Drawn(name, own, place)
    return [drawn for _, drawn in sorted(found.values(), key=lambda each: each[0])]


def adopted_priority(number: object, queue: str) -> int | None:
    """The priority for a plain Celery producer's number from 1 to 9, of which nine is the least important.

    >>> adopted_priority(3, "normal"), adopted_priority(9, "low"), adopted_priority(3, "high")
    (7, 1, None)
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < Priority.NORMAL:
        return None
    level = place_of(queue).level
    return None if level in LEVELS[:2] else Priority.NORMAL - number


def list_of(lane: str, level: str) -> str:
    """The list of a level in a lane."""
    return level if lane == DEFAULT else f"{lane}.{level}"
