"""What a task's author declares of calls that come close to each other: ``Debounce`` and ``Throttle``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from celeriac.errors import BadArgument
from celeriac.limits.unique import Names, OnConflict, Rule, While, names_of, seconds_of

#: How many times its wait a debounced job waits at most, unless it is said.
_TIMES = 10


@dataclass(frozen=True, slots=True)
class Debounce:
    """Calls with the same key that follow each other closely make one job, which runs what the last one says.

    All of them are answered with that job. Once its first attempt has begun, a call makes the next job.

    Attributes:
        wait: seconds from the last call to the run, or a timedelta.
        at_most: seconds from the first call, or a timedelta, after which the job is due whatever follows.
            None: ten times ``wait``.
        args: names of the arguments that make the key, however the call passes them; None: all of them; an
            empty tuple: none, so that all calls of the task are one.

    Raises:
        BadArgument: it can mean nothing.

    >>> @shared_task(name="shop.reindex", debounce=Debounce(5, at_most=60, args=("product",)))
    ... def reindex(product, why=""): ...
    >>> first, last = reindex.delay(7, why="its price"), reindex.delay(7, why="its name")
    >>> first.id == last.id, job(first.id).kwargs
    (True, {'why': 'its name'})
    """

    wait: float | timedelta
    at_most: float | timedelta | None = None
    args: Names = None

    def __post_init__(self) -> None:
        wait = seconds_of("debounce", "wait", self.wait)
        if self.at_most is not None and seconds_of("debounce", "at_most", self.at_most) < wait:
            found = f"found {self.at_most!r} beside {self.wait!r}"
            raise BadArgument("debounce", f"at_most: wanted a time that is not shorter than wait, {found}")
        object.__setattr__(self, "args", names_of("debounce", self.args))

    def __json__(self) -> dict[str, Any]:
        """As it travels in what follows another job; ``of_call`` reads it."""
        most = None if self.at_most is None else seconds_of("debounce", "at_most", self.at_most)
        return {"wait": seconds_of("debounce", "wait", self.wait), "at_most": most, "args": self.args}

    @property
    def _rule(self) -> Rule:
        wait = seconds_of("debounce", "wait", self.wait)
        most = _TIMES * wait if self.at_most is None else seconds_of("debounce", "at_most", self.at_most)
        conflict = OnConflict.REPLACE
        return Rule(self.args, While.WAITING, conflict, wait=wait, at_most=most, option="debounce")

    @classmethod
    def _read(cls, said: Any) -> Self | None:
        if isinstance(said, cls):
            return said
        if isinstance(said, Mapping) and "wait" in said and said.keys() <= {"wait", "at_most", "args"}:
            return cls(said["wait"], said.get("at_most"), said.get("args"))
        return cls(said) if is_time(said) else None


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most one job for each key and period: a call within the period is answered with that job.

    What such a call says is not run: neither now nor later. The period begins when the job is accepted.

    Attributes:
        period: seconds, or a timedelta. At most as long as finished jobs are kept.
        args: names of the arguments that make the key, however the call passes them; None: all of them; an
            empty tuple: none, so that all calls of the task are one.

    Raises:
        BadArgument: it can mean nothing.

    >>> @shared_task(name="shop.digest", throttle=Throttle(3600, args=("user",)))
    ... def digest(user, why=""): ...
    >>> digest.delay(7).id == digest.delay(7, why="again").id != digest.delay(8).id
    True
    """

    period: float | timedelta
    args: Names = None

    def __post_init__(self) -> None:
        seconds_of("throttle", "period", self.period)
        object.__setattr__(self, "args", names_of("throttle", self.args))

    def __json__(self) -> dict[str, Any]:
        """As it travels in what follows another job; ``of_call`` reads it."""
        return {"period": seconds_of("throttle", "period", self.period), "args": self.args}

    @property
    def _rule(self) -> Rule:
        period = seconds_of("throttle", "period", self.period)
        return Rule(self.args, While.PERIOD, OnConflict.KEEP, period=period, option="throttle")

    @classmethod
    def _read(cls, said: Any) -> Self | None:
        if isinstance(said, cls):
            return said
        if isinstance(said, Mapping) and "period" in said and said.keys() <= {"period", "args"}:
            return cls(said["period"], said.get("args"))
        return cls(said) if is_time(said) else None


def is_time(said: object) -> bool:
    """Whether it is a number of seconds, or a timedelta."""
    return isinstance(said, int | float | timedelta) and not isinstance(said, bool)
