"""Fairness: within one queue and level the jobs of tenants take turns, however many one of them has.

Each job is given a turn when it is accepted: that of the queue, or one behind the last of its own tenant.
What waits, waits in the ledger; few of its jobs are on their way to workers, since the broker knows no turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from celeriac.errors import BadArgument
from celeriac.limits.limit import FAIR

#: A key that is no argument.
USER = "user_id"

#: From one turn of a tenant of weight 1 to its next one.
SCALE = 1_000_000

#: A tenant's weight, at most; and its inverse at least.
_LARGEST = 1000.0

#: Jobs ahead of free children at most: while they are short, so that all are claimed within such a time.
_MOST_AHEAD, _SHORT = 500, timedelta(seconds=0.2)


class FairTurn(NamedTuple):
    """
    Attributes:
        key: whose job it is; all jobs that say nothing are of one tenant.
        step: from one turn of it to the next.
        of_user: whether the key is the job's user, and not an argument.
    """

    key: str
    step: int
    of_user: bool = True


@dataclass(frozen=True, slots=True)
class Fairness:
    """
    Attributes:
        keys: by lane, whose jobs take turns: ``user_id``, or the name of an argument.
        default: of the lanes that are not named; None: nobody's.
        weights: of tenants; 1 of all others.
    """

    keys: Mapping[str, str]
    default: str | None
    weights: Mapping[str, float]

    @classmethod
    def parse(cls, by: Iterable[str], weights: Iterable[str]) -> Fairness:
        """
        Raises:
            BadArgument: it can mean nothing.

        >>> Fairness.parse(["user_id", "imports=customer"], ["acme=3"]).key_of("imports.low", "imports")
        'customer'
        """
        keys: dict[str, str] = {}
        default = None
        for item in by:
            lane, told, key = item.rpartition("=")
            if not key or (told and not lane):
                raise BadArgument("fair_by", f"wanted a key, or lane=key, found {item!r}")
            if told:
                keys[lane] = key
            elif default is not None:
                raise BadArgument("fair_by", f"wanted one key for all lanes, found {default!r} and {key!r}")
            else:
                default = key
        return cls(MappingProxyType(keys), default, MappingProxyType(dict(map(_weight, weights))))

    @property
    def is_on(self) -> bool:
        return bool(self.keys) or self.default is not None

    def key_of(self, queue: str, lane: str) -> str | None:
        """Whose jobs take turns in a queue; None: it goes by arrival."""
        return self.keys.get(queue) or self.keys.get(lane) or self.default

    def turn(self, key: object, *, of_user: bool = True) -> FairTurn:
        """The turn of a tenant's job.

        >>> Fairness.parse(["user_id"], ["acme=2"]).turn("acme")
        FairTurn(key='acme', step=500000, of_user=True)
        """
        name = "" if key is None else str(key)
        return FairTurn(name, round(SCALE / self.weights.get(name, 1.0)), of_user)


def _weight(item: str) -> tuple[str, float]:
    name, _, text = item.rpartition("=")
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not name or not 1 / _LARGEST <= weight <= _LARGEST:
        text = f"wanted name=weight, from {1 / _LARGEST:g} to {_LARGEST:g}, found {item!r}"
        raise BadArgument("fair_weights", text)
    return name, weight


def permit_name(queue: str) -> str:
    """What a job of a fair queue takes, one for each that is on its way or runs."""
    return f"{FAIR}{queue}:"


def queue_of(permit: str) -> str:
    """
    >>> queue_of(permit_name("imports.low"))
    'imports.low'
    """
    return permit.removeprefix(FAIR).removesuffix(":")


@dataclass(slots=True)
class Windows:
    """How many jobs of each fair queue may run or be on their way: what runs, and a little ahead.

    Ahead are as many as there are children, and more while most of them are claimed between two looks.

    Attributes:
        children: of the live workers that draw from a queue.
        otherwise: of a queue that nobody draws from.
    """

    children: Mapping[str, int] = field(default_factory=dict)
    otherwise: int = 0
    _ahead: dict[str, int] = field(default_factory=dict)
    _full: dict[str, datetime] = field(default_factory=dict)  # since when a queue's was used up

    def size(self, queue: str) -> int:
        """How many jobs of ``queue`` may run or be on their way now."""
        children = self.children.get(queue, self.otherwise)
        return children + self._window(queue, children)

    def note(self, queue: str, *, used: int, now: datetime) -> None:
        """Learn from a look: ``used`` jobs run or are on their way."""
        children = self.children.get(queue, self.otherwise)
        window = self._window(queue, children)
        full = self._full.pop(queue, None) if used <= children + window // 4 else None
        if full is not None and now - full < _SHORT:  # little is left of what went ahead: it was too few
            window = min(window * 2, _MOST_AHEAD)
        elif used >= children + max(1, window * 3 // 4):
            window = window * 3 // 4
        self._ahead[queue] = max(window, children)

    def is_full(self, queue: str, *, now: datetime) -> None:
        """Note that no more of a queue may be on its way."""
        self._full[queue] = now

    def _window(self, queue: str, children: int) -> int:
        return max(self._ahead.get(queue, 0), children)
