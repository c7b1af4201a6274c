"""The token in the printed URL: whoever reads this process's output may log in once with it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from hmac import compare_digest


class OneTimeToken:
    """A token that opens one session. When it is used, a new one is made and told.

    Args:
        tell: called with each new token.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self.value = secrets.token_urlsafe(24)

    def take(self, given: str) -> bool:
        """Whether ``given`` is the token; it is not any more then."""
        with self._lock:
            if not compare_digest(given.encode(), self.value.encode()):
                return False
            self.value = secrets.token_urlsafe(24)
        self._tell(self.value)
        return True
