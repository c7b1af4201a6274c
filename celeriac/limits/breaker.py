"""A circuit breaker: a limit opens while what it protects fails, and is tried with few jobs afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from celeriac.errors import BadArgument

#: A window, and a rest, at most, in seconds.
_LONGEST = 3600.0
_MOST = 100_000


class BreakerState(StrEnum):
    """Closed: jobs start; open: none does; half-open: a few do, and what becomes of them decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """Of a limit: nothing of it starts for a while, if too many attempts of its jobs fail.

    Attributes:
        share: it opens when this part of the attempts failed, from above 0 to 1.
        window: of those that ended within so many seconds.
        least: and only if there were so many.
        rest: seconds for which nothing starts then.
        probes: jobs that start after it. Fewer than that part of them failed: all go on; or else it rests.

    Raises:
        BadArgument: it can mean nothing.

    >>> @shared_task(name="shop.pay", limit=Limit("stripe", concurrency=10, breaker=Breaker(share=0.5)))
    ... def pay(order): ...
    >>> pay.limit.breaker.rest
    30.0
    """

    share: float = 0.5
    window: float = 60.0
    least: int = 20
    rest: float = 30.0
    probes: int = 3

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise BadArgument("breaker", f"share: wanted a part from above 0 to 1, found {self.share!r}")
        for name in ("window", "rest"):
            value = getattr(self, name)
            seconds = value.total_seconds() if isinstance(value, timedelta) else value
            if (
                isinstance(seconds, bool)
                or not isinstance(seconds, int | float)
                or not 1 <= seconds <= _LONGEST
            ):
                text = f"{name}: wanted a time from 1 s to an hour, found {value!r}"
                raise BadArgument("breaker", text)
            object.__setattr__(self, name, float(seconds))
        for name in ("least", "probes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
                raise BadArgument("breaker", f"{name}: wanted a whole number from 1 on, found {value!r}")

    def _written(self) -> dict[str, Any]:
        return asdict(self)


def read(written: Mapping[str, Any] | None) -> Breaker | None:
    """The breaker that a limit's row tells of; None where it has none, or one that nobody understands.

    >>> read({"share": 0.5, "window": 60.0, "least": 20, "rest": 30.0, "probes": 3}) == Breaker()
    True
    >>> read({"share": 7}), read(None)
    (None, None)
    """
    try:
        return None if written is None else Breaker(**written)
    except (TypeError, BadArgument):
        return None


@dataclass(frozen=True, slots=True)
class Tally:
    """Attempts that ended, and those of them that failed."""

    ended: int = 0
    failed: int = 0

    @property
    def words(self) -> str:
        return f"{self.failed:,} of {self.ended:,} attempts failed"


def next_state(
    breaker: Breaker, state: BreakerState, tally: Tally, *, since: datetime | None, now: datetime
) -> BreakerState:
    """What a breaker is from now on.

    Args:
        tally: of its window, from ``since`` on.
        since: when it became what it is; None: it was never anything but closed.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> next_state(Breaker(), BreakerState.CLOSED, Tally(20, 10), since=None, now=noon)
    <BreakerState.OPEN: 'open'>
    """
    if state is BreakerState.OPEN:
        over = since is None or now >= since + timedelta(seconds=breaker.rest)
        return BreakerState.HALF_OPEN if over else state
    if state is BreakerState.HALF_OPEN:
        if tally.failed >= breaker.share * breaker.probes:
            return BreakerState.OPEN
        return BreakerState.CLOSED if tally.ended >= breaker.probes else state
    if tally.ended >= breaker.least and tally.failed >= breaker.share * tally.ended:
        return BreakerState.OPEN
    return state


@dataclass(slots=True)
class Probes:
    """How many jobs of a half-open limit may still be sent."""

    left: int
