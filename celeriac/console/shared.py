"""A value that all open pages share, so that ten people looking cost the database what one does."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from celeriac.console.budget import Budget
from celeriac.ledger.connection.error_kinds import took_too_long

T = TypeVar("T")

_FAREWELL = 15.0  # seconds that a read may still take

#: Seconds after which a value is read anew, after the first read and later, whatever that costs. The first
#: read may have been slow because nothing was in memory.
_OLDEST_FIRST, _OLDEST = 60.0, 300.0

#: A value that is older than so many seconds, as nobody has asked for it, is read before it is shown, where
#: the last read took no longer than that.
_STALE, _QUICK = 5.0, 0.1

#: Seconds for which a value counts as asked for.
_IN_USE = 10.0


class Shared(Generic[T]):
    """The value of ``read``, at most ``every`` seconds old when it is asked for regularly.

    One thread at a time reads it. Whoever asks meanwhile is given the value before.

    Args:
        budget: of which it has a part: a read that takes long is made less often.
    """

    def __init__(self, read: Callable[[], T], *, every: float, budget: Budget | None = None) -> None:
        self._read = read
        self.every = every
        self.cost = 0.0  # seconds that a read takes, usually, by the budget's clock
        self._last: float | None = None  # of the last read
        self._budget = budget or Budget()
        self._budget.join(self)
        self._asked = 0.0  # on the monotonic clock
        self._lock = threading.Condition()
        self._reading = False
        self._began = 0.0  # the read that is under way, or was last, on the monotonic clock
        self._value: T | None = None
        self._error: Exception | None = None
        self._made = 0.0  # when it was read, on the monotonic clock; 0: never
        self._tried = 0.0  # when the last read ended
        self._pause = every
        self._took = 0.0  # seconds of the last read
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to read, unless the value is new enough."""
        with self._lock:
            self._asked = time.monotonic()
            fresh = self._tried and time.monotonic() - self._tried < self._pause
            if self._reading or fresh or self._closed:
                return
            self._reading, self._began = True, time.monotonic()
            self._thread = threading.Thread(target=self._refresh, name="console-read", daemon=True)
            self._thread.start()

    def drop(self) -> None:
        """Begin no more reads; one that is under way goes on."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def close(self) -> None:
        """Read no more: a read that is under way ends first, unless it takes too long."""
        self.drop()
        if self._thread is not None:
            self._thread.join(_FAREWELL)

    @property
    def in_use(self) -> bool:
        """Whether somebody has asked for it lately."""
        return time.monotonic() - self._asked < _IN_USE

    @property
    def reading(self) -> bool:
        """Whether a read is under way."""
        with self._lock:
            return self._reading

    def peek(self, *, wait: float, patient: bool = True) -> tuple[T | None, float]:
        """The newest value and its age in seconds; None when there is none after ``wait`` seconds.

        Args:
            patient: False: the seconds are counted from when the read began. One that takes long makes who
                asks first wait, and not each who asks until it ends.

        Raises:
            Exception: what the last read raised.
        """
        self.start()
        with self._lock:
            left = wait if patient else max(0.0, self._began + wait - time.monotonic())
            self._lock.wait_for(lambda: bool(self._made) or self._closed, timeout=left)
            if (
                self._made
                and self._reading
                and self._took < _QUICK
                and time.monotonic() - self._made > _STALE
            ):
                self._lock.wait_for(lambda: not self._reading or self._closed, timeout=min(wait, 2 * _QUICK))
            if self._error is not None:
                raise self._error
            return self._value, (time.monotonic() - self._made if self._made else 0.0)

    def get(self, *, wait: float) -> T:
        """The newest value.

        Raises:
            TimeoutError: there is none after ``wait`` seconds.
            Exception: what the last read raised.
        """
        value, _ = self.peek(wait=wait)
        if value is None:
            raise TimeoutError
        return value

    def _refresh(self) -> None:
        began, clock = time.monotonic(), self._budget.clock
        before = clock()
        value, error = None, None
        try:
            value = self._read()
        except Exception as exc:  # whoever asks is told; the next read may work
            error = exc
        with self._lock:
            self._tried, self._reading = time.monotonic(), False
            late = error is not None and took_too_long(error) and self._value is not None
            if not late:  # else the value before is worth more than to say so
                self._value = value if error is None else self._value
                self._error, self._made = error, self._tried
            self._took = self._tried - began
            last, self._last = self._last, clock() - before
            self.cost = self._last if last is None else min(last, self._last)
            oldest = _OLDEST_FIRST if last is None else _OLDEST
            self._pause = max(self.every, min(self._budget.pause(self), oldest))
            self._lock.notify_all()


class SharedValues:
    """Shared values by their keys, the ones that were asked for last.

    A key may hold what a visitor types, as a filter: there is no end of them. So the value that nobody has
    asked for the longest makes room.

    Args:
        most: values that are kept.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Shared[Any]] = OrderedDict()
        self._dropped: list[Shared[Any]] = []  # whose last read is still under way

    def of(self, key: str, make: Callable[[], Shared[Any]]) -> Shared[Any]:
        """The value of that key; ``make`` makes it when it is not there."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = make()
            self._kept.move_to_end(key)
            self._dropped = [each for each in self._dropped if each.reading]
            while len(self._kept) > self._most:
                _, oldest = self._kept.popitem(last=False)
                oldest.drop()
                self._dropped.append(oldest)
            return found

    def close(self) -> None:
        """Read no more; reads that are under way end first, those of dropped values too."""
        with self._lock:
            every = [*self._kept.values(), *self._dropped]
        for each in every:
            each.drop()
        for each in every:
            each.close()


class Ages(threading.local):
    """How old the figures are that the answer of this thread tells."""

    oldest = 0.0  # seconds

    def begin(self) -> None:
        self.oldest = 0.0

    def note(self, age: float) -> None:
        self.oldest = max(self.oldest, age)
