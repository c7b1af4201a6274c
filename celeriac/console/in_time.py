"""Reads that cost less and less, for a question that takes too long on a large ledger."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from celeriac.ledger.connection.error_kinds import took_too_long

T = TypeVar("T")

_AGAIN = 300.0  # seconds before the whole question is asked again


class InTime(Generic[T]):
    """The answer of the first of ``reads`` that is not ended for the time that it takes.

    Args:
        reads: the first answers the whole question, each next one less of it.
        again: seconds for which a read that took too long is left out.
    """

    def __init__(self, *reads: Callable[[], T], again: float = _AGAIN) -> None:
        self._reads, self._again = reads, again
        self._first = 0
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
                return self._reads[self._first]()
            except Exception as exc:  # only one that took too long is told apart
                if self._first + 1 == len(self._reads) or not took_too_long(exc):
                    raise
            self._first += 1
            self._until = time.monotonic() + self._again
