"""What a page answers again and again, made once for all who have it open and may see the same."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from starlette.responses import Response

#: Seconds for which an answer is given again: half of what lies between two refreshes of an open page.
LASTS = 1.0


@dataclass(slots=True)
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: Response | None = None
    made: float = 0.0  # on the monotonic clock


class SameAnswers:
    """Answers by all that they depend on, the ones that were asked for last.

    Whoever asks while an answer is being made waits for it, so that it is made once.

    Args:
        most: answers that are kept.
        lasts: seconds for which one is given again.
    """

    def __init__(self, *, most: int, lasts: float = LASTS) -> None:
        self._most = most
        self._lasts = lasts
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def of(self, key: Hashable, make: Callable[[], Response]) -> Response:
        """What ``make`` returns, or returned a moment ago for the same key; an error is not kept.

        Raises:
            Exception: what ``make`` raises.
        """
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        with kept.lock:
            if kept.answer is None or time.monotonic() - kept.made > self._lasts:
                kept.answer = None  # which needs no place while the next one is made
                made = make()
                if made.status_code != 200:
                    return made
                kept.answer, kept.made = made, time.monotonic()
            return kept.answer
