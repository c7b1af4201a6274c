"""A limit, as a task's author declares it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celeriac import names
from celeriac.errors import BadArgument
from celeriac.limits.breaker import Breaker
from celeriac.limits.rate import Rate

#: Characters of a limit's name; a permit's name has the key behind it.
LONGEST_NAME = 100

#: Limits that one task may have: so many columns a row has.
MOST = 3

#: With this begins the name of the limit that keeps an order.
ORDERED = "ordered/"

#: And that of what is on its way from a fair queue.
FAIR = "fair/"

#: A concurrency or weight above this is no limit.
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """How many jobs may run at once, or start in a time, in the whole fleet.

    A job that a limit holds back waits in the ledger, neither in the broker nor in a worker. Tasks that name
    the same limit share it.

    Attributes:
        name: of the limit; the same name on another task means the same limit.
        concurrency: jobs that are on their way to a worker or run at once; None: any number.
        rate: starts in a time, as ``"100/m"``: per second, minute, hour or day; None: any number. They are
            evenly spaced: there is no burst at the edge of a minute.
        burst: starts at once after a rest; None: those of a tenth of a second, and one at least.
        key: what has a limit of its own: the name of an argument, a function of the call's arguments, or True
            if each call says it (``limit_key=…``). None: all jobs share it.
        weight: how much of the concurrency, and how many starts, one job of this task takes.
        breaker: nothing of the limit starts for a while, if too many of its jobs fail; None: whatever fails.

    Raises:
        BadArgument: it can mean nothing.

    >>> @shared_task(name="shop.export", limit=Limit("export", concurrency=1, key="customer"))
    ... def export(customer): ...
    >>> ids = [export.delay(7).id, export.delay(7).id]
    >>> [job(id).state for id in ids]
    [<JobState.PENDING: 'pending'>, <JobState.PENDING: 'pending'>]
    """

    name: str
    concurrency: int | None = None
    rate: str | None = None
    burst: int | None = None
    key: str | bool | Callable[..., object] | None = None
    weight: int = 1
    breaker: Breaker | None = None

    def __post_init__(self) -> None:
        names.check_text("limit", self.name.removeprefix(ORDERED), length=LONGEST_NAME)
        if ":" in self.name:
            raise BadArgument("limit", f"its name must not have a colon, found {self.name!r}")
        if self.name.startswith((ORDERED, FAIR)) and type(self) is Limit:
            text = f"its name must not begin with {ORDERED!r} or {FAIR!r}, found {self.name!r}"
            raise BadArgument("limit", text)
        if self.concurrency is None and self.rate is None:
            raise BadArgument(f"limit {self.name!r}", "wanted a concurrency or a rate, found neither")
        _check_count(self.name, "concurrency", self.concurrency)
        _check_count(self.name, "burst", self.burst)
        _check_count(self.name, "weight", self.weight)
        if not isinstance(self.breaker, Breaker | None):
            text = f"breaker: wanted a Breaker, found {self.breaker!r}"
            raise BadArgument(f"limit {self.name!r}", text)
        if self.rate is not None:
            Rate.parse(self.rate, burst=self.burst)
        elif self.burst is not None:
            raise BadArgument(f"limit {self.name!r}", "a burst is of a rate, and it has none")
        if self.concurrency is not None and self.weight > self.concurrency:
            text = f"a job of weight {self.weight} never fits into a concurrency of {self.concurrency}"
            raise BadArgument(f"limit {self.name!r}", text)
        named = self.key is None or self.key is True or isinstance(self.key, str)
        if not (named or callable(self.key)):
            raise BadArgument(f"limit {self.name!r}", f"key: wanted an argument's name, found {self.key!r}")

    @property
    def _rule(self) -> tuple[object, ...]:
        """What all tasks that share the limit must agree on: concurrency, rate, burst, breaker."""
        return self.concurrency, self.rate, self.burst, self.breaker

    @property
    def _said(self) -> str:
        parts: list[tuple[str, object]] = [
            ("concurrency", self.concurrency),
            ("rate", self.rate),
            ("burst", self.burst),
        ]
        parts += [("breaker", self.breaker)]
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None)


def _check_count(limit: str, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise BadArgument(f"limit {limit!r}", f"{name}: wanted a whole number from 1 on, found {value!r}")


def declared(value: object) -> tuple[Limit, ...]:
    """The limits of a task, from what its ``limit`` says: one, several, or None.

    Raises:
        BadArgument: it is something else, or more than three.

    >>> declared(None), len(declared(Limit("a", 1))), len(declared([Limit("a", 1), Limit("b", 1)]))
    ((), 1, 2)
    """
    if value is None:
        return ()
    found: Sequence[object] = [value] if isinstance(value, Limit) else _listed(value)
    limits = tuple(each for each in found if isinstance(each, Limit))
    if len(limits) < len(found):
        raise BadArgument("limit", f"wanted a Limit or a list of them, found {value!r}")
    if len({each.name for each in limits}) < len(limits):
        raise BadArgument("limit", "two limits of one task have the same name")
    if len(limits) > MOST:
        raise BadArgument("limit", f"wanted at most {MOST} limits of one task, found {len(limits)}")
    return limits


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise BadArgument("limit", f"wanted a Limit or a list of them, found {value!r}")
    return list(value)


def together(tasks: Iterable[tuple[str, Sequence[Limit]]]) -> tuple[dict[str, Limit], list[str]]:
    """The limits of all tasks by name, and a sentence for each that two tasks define differently.

    >>> a, b = Limit("x", concurrency=1), Limit("x", concurrency=2)
    >>> together([("one", [a]), ("two", [b])])[1]
    ["limit 'x': the task 'one' says concurrency 1, 'two' says concurrency 2"]
    """
    found: dict[str, tuple[str, Limit]] = {}
    problems = []
    for task, limits in tasks:
        for limit in limits:
            first, known = found.setdefault(limit.name, (task, limit))
            if known._rule != limit._rule:
                said = f"the task {first!r} says {known._said}, {task!r} says {limit._said}"
                problems.append(f"limit {limit.name!r}: {said}")
    return {name: limit for name, (_, limit) in found.items()}, problems


def of_tasks(tasks: Mapping[str, Any]) -> tuple[dict[str, Limit], list[str]]:
    """The limits of these tasks, as ``together``."""
    return together((name, getattr(task, "_limits", ())) for name, task in sorted(tasks.items()))
