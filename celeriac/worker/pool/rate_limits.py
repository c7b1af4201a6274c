"""Jobs of a task with a rate limit: which wait in Celery's bucket, and when the others come back.

A job in the bucket is claimed and does not run. So only jobs that start soon wait there, in the order in
which they arrived. The others are given back to the ledger, and return one after the other when they may
start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kombu.utils.limits import TokenBucket

#: Seconds. A job that starts so soon waits in the bucket. A job that was given back returns half of that time
#: before its start.
_SOON = 5.0

#: Jobs in one bucket: more are not needed to keep the children busy.
_MOST = 500

#: Seconds. No job is given back for longer: the limit may be lifted, and other workers have own buckets.
_LONGEST = 120.0

_SHORTEST = 0.1  # seconds


class Rates:
    """The rate limits of one worker; Celery's limits are per worker, too."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}  # by task: when the last job that was given back may start

    def wait(self, task: str, bucket: TokenBucket, *, now: float) -> float:
        """For how many seconds to give a job back; 0: it waits in ``bucket``.

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
