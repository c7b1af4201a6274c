"""Properties that a call gives its message beside those of every message: they are kept in the headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.headers import CARRIED, PROPERTIES, carried
from celeriac.names import NAME_LENGTH, check_text


def carry(headers: dict[str, Any], options: Mapping[str, Any], *, reply_to: str) -> None:
    """Note in ``headers`` what ``options`` of a call say; what a retry brings along stays.

    Args:
        reply_to: what Celery gives where the call gives none.

    Raises:
        BadArgument: one of them is no text.
    """
    usual = {"correlation_id": headers["id"], "reply_to": reply_to}
    given = {
        name: check_text(name, options[name], length=NAME_LENGTH)
        for name in CARRIED
        if options.get(name) and options[name] != usual.get(name)
    }
    if given or PROPERTIES in headers:
        headers[PROPERTIES] = carried(headers) | given


def foreign(properties: Mapping[str, Any], task_id: str) -> dict[str, Any]:
    """The header that keeps what a foreign message has of them; none where it has nothing."""
    told = {name: properties.get(name) for name in CARRIED}
    found = {
        name: value
        for name, value in told.items()
        if isinstance(value, str) and 0 < len(value) <= NAME_LENGTH and value != task_id
    }
    return {PROPERTIES: found} if found else {}
