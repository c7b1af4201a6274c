"""Whether to try the broker: after a failed publish not for a moment. One object per process."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

from kombu.exceptions import LimitExceeded, OperationalError

_FIRST_REST, _LONGEST_REST = 1.0, 10.0  # seconds that a failing broker is left alone
#: The same for a worker's duties, for which nobody waits: what is due leaves so soon after it is back.
_LONGEST_OF_DUTIES = 2.0


class BrokerState:
    """Remembers failed publishes. The pause grows with each and ends with a success.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rest = 0.0
        self._until = 0.0
        self._failed = 0.0

    @property
    def resting(self) -> bool:
        return self._clock() < self._until

    @property
    def resting_for_duties(self) -> bool:
        """Whether a worker's duties leave the broker alone. They try it sooner than callers do."""
        return self._clock() < min(self._until, self._failed + _LONGEST_OF_DUTIES)

    def failed(self) -> None:
        self._rest = min(max(self._rest * 2, _FIRST_REST), _LONGEST_REST)
        self._failed = self._clock()
        self._until = self._failed + self._rest

    def worked(self) -> None:
        self._rest = self._until = 0.0


def broker_errors(_: Any) -> tuple[type[Exception], ...]:
    """What a broker that is away raises; ``Celeriac.broker_errors``."""
    return _errors()


@cache
def _errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError  # which imports all of redis-py: a process may never need it

    return (OperationalError, OSError, LimitExceeded, RedisError)
