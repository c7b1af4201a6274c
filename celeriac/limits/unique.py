"""What a task's author declares of calls that mean the same job: ``Unique``, and the rule that it makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self, TypeAlias

from celeriac.errors import BadArgument

#: Names of arguments; None: all of them.
Names: TypeAlias = tuple[str, ...] | None


class While(StrEnum):
    """For how long a job has its key."""

    WAITING = "waiting"  # until its first attempt begins
    ACTIVE = "active"  # until it has ended
    PERIOD = "period"  # for so many seconds, whatever becomes of it


class OnConflict(StrEnum):
    """What becomes of a call whose key another job has."""

    KEEP = "keep"  # the other job is the answer, and stays as it is
    REPLACE = "replace"  # the other job runs what this call says, if it waits
    REJECT = "reject"  # it is refused


@dataclass(frozen=True, slots=True)
class Rule:
    """One of the three declarations, as the door reads it.

    Attributes:
        args: the arguments that make the key; None: all.
        period: seconds, of a key that is held for a time.
        wait: seconds by which a debounced job waits for the next call; None: it is not debounced.
        at_most: seconds after the first call, at which it runs whatever follows; None: there is no such.
        option: its name, as the author writes it.
    """

    args: Names
    while_: While
    on_conflict: OnConflict = OnConflict.KEEP
    period: float = 0.0
    wait: float | None = None
    at_most: float | None = None
    option: str = "unique"


@dataclass(frozen=True, slots=True)
class Unique:
    """Of calls with the same key one job is made; the others are answered with it.

    The database holds it by a constraint: for any number of producers, in transactions and in bulk.

    Attributes:
        args: names of the arguments that make the key, however the call passes them; None: all of them; an
            empty tuple: none, so that there is one job of the task.
        while_: how long a job has its key: ``"active"``, until it has ended; ``"waiting"``, until its first
            attempt begins; or a time from its acceptance, whatever becomes of it.
        on_conflict: what becomes of a call whose key is taken. ``"keep"``: the job that has it is the answer;
            ``"replace"``: so it is, and while it waits it takes over what the call says; ``"reject"``:
            ``DuplicateJob`` is raised.

    Raises:
        BadArgument: it can mean nothing.

    >>> @shared_task(name="shop.sync", unique=Unique(args=("account",)))
    ... def sync(account, full=False): ...
    >>> sync.delay(7).id == sync.delay(account=7, full=True).id != sync.delay(8).id
    True
    """

    args: Names = None
    while_: str | timedelta = While.ACTIVE
    on_conflict: str = OnConflict.KEEP

    def __post_init__(self) -> None:
        object.__setattr__(self, "args", names_of("unique", self.args))
        if isinstance(self.while_, timedelta):
            seconds_of("unique", "while_", self.while_)
        elif self.while_ not in (While.WAITING, While.ACTIVE):
            raise BadArgument("unique", f"while_: wanted waiting, active or a time, found {self.while_!r}")
        if self.on_conflict not in tuple(OnConflict):
            wanted = ", ".join(OnConflict)
            raise BadArgument("unique", f"on_conflict: wanted one of {wanted}, found {self.on_conflict!r}")

    def __json__(self) -> dict[str, Any]:
        """As it travels in what follows another job; ``of_call`` reads it."""
        span = self.while_.total_seconds() if isinstance(self.while_, timedelta) else str(self.while_)
        return {"args": self.args, "while_": span, "on_conflict": str(self.on_conflict)}

    @property
    def _rule(self) -> Rule:
        conflict = OnConflict(self.on_conflict)
        if isinstance(self.while_, timedelta):
            return Rule(self.args, While.PERIOD, conflict, period=self.while_.total_seconds())
        return Rule(self.args, While(self.while_), conflict)

    @classmethod
    def _read(cls, said: object) -> Self | None:
        if isinstance(said, cls):
            return said
        if not isinstance(said, Mapping) or not said.keys() <= {"args", "while_", "on_conflict"}:
            return None
        span = said.get("while_", While.ACTIVE)
        if isinstance(span, int | float) and not isinstance(span, bool):
            span = timedelta(seconds=seconds_of("unique", "while_", span))
        return cls(said.get("args"), span, said.get("on_conflict", OnConflict.KEEP))


def names_of(option: str, value: Any) -> Names:
    """The names of arguments that make a key, checked."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise BadArgument(option, f"args: wanted a tuple of the names of arguments, found {value!r}")
    found = tuple(value)
    if not all(isinstance(name, str) and name for name in found) or len(set(found)) < len(found):
        raise BadArgument(option, f"args: wanted different names of arguments, found {found!r}")
    return found


def seconds_of(option: str, name: str, value: Any) -> float:
    """A time as seconds, checked."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
        raise BadArgument(option, f"{name}: wanted a time above 0 and up to a year, found {value!r}")
    return float(seconds)


_LONGEST = 366 * 86_400.0
