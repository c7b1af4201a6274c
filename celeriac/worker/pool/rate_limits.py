"""Jobs of a task with a rate limit: which wait in Celery's bucket, and when the others come back.

A job in the bucket is claimed and runs nowhere. So those wait there that start soon, in the order in which
they came; the others are given back to the ledger, and return one after the other, when it is their turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kombu.utils.limits import TokenBucket

#: Seconds. Who begins so soon may wait in the bucket; who was given back returns half of it before its turn.
_SOON = 5.0

#: Jobs in one bucket: more are not needed to keep the children busy.
_MOST = 500

#: Seconds. Nobody is given back for longer: a limit may be lifted, and other workers have their own buckets.
_LONGEST = 120.0

_SHORTEST = 0.1  # seconds


class Rates:
    """Of one worker, as Celery's limits are."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}  # when the last job of a task that was given back has its turn

    def wait(self, task: str, bucket: TokenBucket, *, now: float) -> float:
        """For how many seconds to give a job back; 0 when it shall wait in ``bucket``.

        Args:
            now: on the monotonic clock.
        """
        before = len(bucket.contents)
        turn: float = bucket.expected_time(before + 1)
        if turn <= _SOON and before < _MOST:
            return 0.0
        after_the_last = self._last.get(task, 0.0) + 1 / bucket.fill_rate
        at: float = min(max(now + turn, after_the_last), now + _LONGEST)
        self._last[task] = at
        return max(_SHORTEST, at - now - _SOON / 2)
