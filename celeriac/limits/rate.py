"""A rate: when the next start is allowed, by the generic cell rate algorithm (ITU-T I.371).

One moment is kept for each key, the next start if all were evenly spaced. It is ahead of the clock by as
much as was used in advance, and a start is allowed while that is no more than the burst.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from celeriac.errors import BadArgument

_SECONDS = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86_400})
_FORM = re.compile(r"(\d{1,9})/([smhd])")

#: Starts of so many seconds are the burst, unless a limit says another: admission looks ten times a second.
_BURST = 0.1

#: A job is sent to a worker at most so long before its start.
AHEAD = timedelta(seconds=0.2)

#: And begins within such a time of its sending, unless its worker is busy, or frozen.
ON_TIME = timedelta(seconds=0.4)

#: What was sent before that, and has not begun, holds up no other while it is not more than the starts of so
#: long: the claim decides who starts. Beyond that, all workers are busy.
_LATE = timedelta(seconds=2)

#: A job that may start within this time keeps its place in the worker that has it.
HORIZON = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Rate:
    """
    Attributes:
        every: the time between two starts.
        burst: starts at once after a rest.
    """

    every: timedelta
    burst: int

    @classmethod
    def parse(cls, text: str, *, burst: int | None = None) -> Rate:
        """
        Raises:
            BadArgument: it is no rate.

        >>> Rate.parse("120/m")
        Rate(every=datetime.timedelta(microseconds=500000), burst=1)
        >>> Rate.parse("100/s").burst
        10
        """
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if found is None or not int(found[1]):
            raise BadArgument("rate", f'wanted something as "100/m" (s, m, h or d), found {text!r}')
        count, seconds = int(found[1]), _SECONDS[found[2]]
        at_once = max(1, round(_BURST * count / seconds)) if burst is None else burst
        return cls(timedelta(seconds=seconds) / count, at_once)

    def allowed(self, next_start: datetime | None, now: datetime) -> int:
        """How many starts are allowed now.

        Args:
            next_start: as ``after`` returned it; None: nothing has started.

        >>> from datetime import UTC
        >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        >>> second = Rate(timedelta(seconds=1), burst=3)
        >>> second.allowed(None, noon), second.allowed(second.after(None, noon, 3), noon)
        (3, 0)
        """
        ahead = self._ahead(next_start, now)
        room = self.every * self.burst - ahead
        return max(0, int(room / self.every + 1e-9))

    def after(self, next_start: datetime | None, now: datetime, starts: int) -> datetime:
        """What is to be kept after so many starts."""
        return now + self._ahead(next_start, now) + self.every * starts

    def in_front(self, fresh: int, late: int) -> int:
        """How many starts of what is on its way come before that of a job which is sent now.

        Args:
            fresh, late: what was sent within ``ON_TIME``, and before.

        >>> Rate.parse("10/s").in_front(2, 20), Rate.parse("10/s").in_front(2, 25)
        (2, 7)
        """
        return fresh + max(0, late - max(1, int(_LATE / self.every)))

    def opens(self, next_start: datetime | None, now: datetime, starts: int = 1) -> datetime:
        """When so many starts are allowed at once; in the past or now if they are."""
        wanted = min(starts, self.burst)
        return now + self._ahead(next_start, now) + self.every * (wanted - self.burst)

    def _ahead(self, next_start: datetime | None, now: datetime) -> timedelta:
        """How much was used in advance; a clock that was set back must not stop the limit for long."""
        if next_start is None or next_start <= now:
            return timedelta()
        return min(next_start - now, self.every * self.burst)
