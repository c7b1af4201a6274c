"""Texts that the console gives away and takes back: sessions, tokens of forms, messages after an action."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any


class Signer:
    """Signs with one key; what it signed for one purpose is refused for another."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def dumps(self, purpose: str, value: Any, *, lasts: float) -> str:
        """``value`` as a text that ``loads`` takes back for ``lasts`` seconds."""
        body = json.dumps([time.time() + lasts, value], separators=(",", ":")).encode()
        return f"{_text(body)}.{self.mark(purpose, body)}"

    def loads(self, purpose: str, text: str) -> Any:
        """The value; None when it was not signed here for this purpose, or is too old."""
        body, _, mark = text.rpartition(".")
        try:
            found = urlsafe_b64decode(body + "=" * (-len(body) % 4))
            if not hmac.compare_digest(self.mark(purpose, found).encode(), mark.encode()):
                return None
            ends, value = json.loads(found)
        except ValueError:
            return None
        return value if time.time() < ends else None

    def mark(self, purpose: str, body: bytes) -> str:
        key = hmac.digest(self._key, purpose.encode(), hashlib.sha256)
        return _text(hmac.digest(key, body, hashlib.sha256))


def _text(body: bytes) -> str:
    """Without padding, which a cookie would put in quotes."""
    return urlsafe_b64encode(body).decode().rstrip("=")
