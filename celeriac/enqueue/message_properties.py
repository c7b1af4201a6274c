"""Properties that a call gives its message beside those of every message: they are kept in the headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.broker.wire import CARRIED, PROPERTIES, carried
from celeriac.enqueue.arguments import check_text
from celeriac.ledger.schema.models import NAME_LENGTH


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
