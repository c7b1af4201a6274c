"""Programs that show a token of the API: who they are, and how often they may ask."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import BadToken, TooOften, Visitor
from celeriac.display import stamp
from celeriac.operate import tokens
from celeriac.operate.tokens import ApiToken

if TYPE_CHECKING:
    from celeriac.application import Celeriac

Key = TypeVar("Key")
Value = TypeVar("Value")

_KNOWN = 2.0  # seconds for which the ledger is not asked again; a revoked token works so long at most
_NOTED = 60.0  # seconds between two notes of use
_MOST = 1_000  # tokens that are remembered


class Bearers:
    """The tokens of the ledger, and a bucket of requests for each, in this process.

    Args:
        app: notes the use of tokens.
        reader: looks them up.
        rate: requests a second; twice as many at once.
    """

    def __init__(self, app: Celeriac, reader: Celeriac, *, rate: float) -> None:
        self._app, self._reader = app, reader
        self._rate = rate
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[float, ApiToken]] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests left, and when
        self._noted: OrderedDict[str, float] = OrderedDict()

    def of(self, text: str) -> Visitor | None:
        """Who shows this; None: it is none of our tokens.

        Raises:
            BadToken: it is unknown, revoked or expired.
            TooOften: it has no request left.
        """
        if not text.startswith(tokens.PREFIX):
            return None
        found = self._find(text)
        if found is None:
            raise BadToken("this token is unknown or was revoked: see `celery -A app tokens list`")
        if found.expired:
            remedy = "make another with `celery -A app tokens create NAME`"
            raise BadToken(f"this token expired at {stamp(found.expires)}: {remedy}")
        self._spend(found.name)
        self._note(found.name)
        return Visitor(f"token:{found.name}", Role(found.role), "")

    def _find(self, text: str) -> ApiToken | None:
        key, now = tokens.digest(text), time.monotonic()
        until, known = self._known.get(key, (0.0, None))
        if until > now:
            return known
        found = tokens.find(text, app=self._reader)
        with self._lock:
            self._known.pop(key, None)
            if found is not None:
                _put(self._known, key, (now + _KNOWN, found))
        return found

    def _spend(self, name: str) -> None:
        most, now = max(1.0, self._rate * 2), time.monotonic()
        with self._lock:
            left, seen = self._buckets.get(name, (most, now))
            left = min(most, left + (now - seen) * self._rate)
            _put(self._buckets, name, (left - 1 if left >= 1 else left, now))
        if left < 1:
            raise TooOften(math.ceil((1 - left) / self._rate), self._rate)

    def _note(self, name: str) -> None:
        now = time.monotonic()
        with self._lock:
            if self._noted.get(name, -math.inf) + _NOTED > now:
                return
            _put(self._noted, name, now)
        with suppress(SQLAlchemyError):  # a ledger that can only be read now is read all the same
            tokens.mark_used(name, app=self._app)


def _put(known: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    """Keep it, and forget what was kept longest ago."""
    known[key] = value
    known.move_to_end(key)
    while len(known) > _MOST:
        known.popitem(last=False)
