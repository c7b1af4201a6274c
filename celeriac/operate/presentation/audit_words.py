"""Which actions are wanted, in words: the options of ``celery -A app audit``, the query of ``/audit``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from celeriac.errors import BadArgument
from celeriac.operate.listing import parse_moment

#: The words, in the order in which a command shows them.
WORDS = ("who", "action", "job", "since", "until")


def wanted_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``list_actions`` for these words.

    Raises:
        BadArgument: a word's value has no meaning. It names the option.
    """
    found = {word: given.get(word) for word in WORDS}
    return found | {word: _moment(word, found[word]) for word in ("since", "until")}


def _moment(word: str, value: str | datetime | timedelta | None) -> datetime | timedelta | None:
    if not isinstance(value, str):
        return value
    try:
        return parse_moment(value)
    except (ValueError, OverflowError):
        wanted = "wanted 90s, 15m, 2h, 3d or an ISO 8601 moment"
        raise BadArgument(f"--{word}", f"{wanted}, found {value[:80]!r}") from None
