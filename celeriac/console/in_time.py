"""Reads that cost less and less, for a question that takes too long on a large ledger."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from celeriac.ledger.connection.error_kinds import took_too_long

T = TypeVar("T")

#: Seconds before the whole question is asked again: after the first time that it took too long, at the most.
_AGAIN, _SELDOM = 300.0, 3600.0


class InTime(Generic[T]):
    """The answer of the first of ``reads`` that is not ended for the time that it takes.

    Args:
        reads: the first answers the whole question, each next one less of it.
        again: seconds for which a read that took too long is left out; each next time in a row for twice as
            long, up to an hour: it costs the database much, in vain.
    """

    def __init__(self, *reads: Callable[[], T], again: float = _AGAIN) -> None:
        self._reads, self._again = reads, again
        self._first = 0
        self._in_vain = 0  # times in a row that the first one took too long
        self._until = 0.0  # on the monotonic clock

    def __call__(self) -> T:
        """
        Raises:
            Exception: what the last one raised, or one for another reason.
        """
        if time.monotonic() >= self._until:
            self._first = 0
        while True:
            try:
                found = self._reads[self._first]()
            except Exception as exc:  # only one that took too long is told apart
                if self._first + 1 == len(self._reads) or not took_too_long(exc):
                    raise
                self._in_vain += not self._first
                self._first += 1
                self._until = time.monotonic() + min(self._again * 2 ** (self._in_vain - 1), _SELDOM)
            else:
                self._in_vain = self._in_vain if self._first else 0
                return found
