"""How many jobs a worker may hold beyond those that its children are at."""

from __future__ import annotations

import math

#: A claim may run this far ahead of the pool, in seconds of its work: enough to hide a turn.
_AHEAD = 0.05

#: Jobs that take as long, in seconds, are claimed when a child is free for them: a turn is nothing to them,
#: and what waits behind one of them could have run elsewhere.
_LONG = 0.2

#: Seconds. An outcome is written so much later at most; a shorter pause than the one gathers nothing.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.01

_MOST = 1_000  # messages beside those for the children

_UNKNOWN = 1.0  # seconds that a job takes, before any has ended

_SHORTEST = 0.0005  # seconds; what is measured below is noise
_WEIGHT = 0.1  # of the latest job in the moving average


class ClaimAhead:
    """Follows how long jobs take.

    What is claimed and not started costs a try when this worker dies, and cannot be run by
    another that is idle. So long jobs are claimed as children need them, short ones ahead.
    """

    def __init__(self) -> None:
        self._pace = _UNKNOWN  # seconds that a job takes, a moving average

    def record_duration(self, seconds: float) -> None:
        """A job has ended after ``seconds``."""
        self._pace += _WEIGHT * (max(0.0, seconds) - self._pace)

    def claimable(self, unfinished: int, *, children: int, queues: bool = True) -> int:
        """How many more jobs may be claimed beside those that wait for a child or run in one.

        Args:
            queues: whether the pool takes more than it can run; one that does not blocks instead.
        """
        return max(0, children + self._ahead(children, queues) - unfinished)

    def prefetch(self, *, children: int, queues: bool = True) -> int:
        """How many messages may be held, claimed or not: another turn's worth beside what may be claimed.

        As many as there are children while jobs are long: who waits for a child is the most important
        then, not the first that came.
        """
        return children + min(2 * self._ahead(children, queues), _MOST)

    def refill_threshold(self, *, children: int, queues: bool = True) -> int:
        """For how many messages there should be room before more are asked for; the children have theirs."""
        return max(1, (self.prefetch(children=children, queues=queues) - children) // 4)

    def pause(self, unfinished: int, *, children: int) -> float:
        """Seconds that a turn may wait for more to share it.

        Half as long as what waits for a child keeps the children busy; none, when a child may be idle.
        """
        waiting = unfinished - children
        if waiting <= 0:
            return 0.0
        return min(max(_SHORTEST_PAUSE, waiting * self._pace / children / 2), _LONGEST_PAUSE)

    def _ahead(self, children: int, queues: bool) -> int:
        if not queues or self._pace >= _LONG:
            return 0
        return math.ceil(children * _AHEAD / max(self._pace, _SHORTEST))
