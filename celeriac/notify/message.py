"""What an alert says: the arguments of the job that sends it, and the same as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.display import safe

_LONGEST = 1_000  # characters of a sentence
_SHOWN = 50  # alerts of one text

#: An alert's state, in the words of a person.
_WORDS = {"raised": "", "grown": "still: ", "over": "over: ", "test": "test: "}


def title(message: Mapping[str, Any]) -> str:
    """One line.

    >>> title({"environment": "shop", "alerts": [{"state": "over", "sentence": "queue low is late"}]})
    '[shop] over: queue low is late'
    """
    first, more = message["alerts"][0], len(message["alerts"]) - 1
    rest = f" (and {more} more)" if more else ""
    return f"[{safe(message['environment'], length=80)}] {_line(first, 150)}{rest}"


def lines(message: Mapping[str, Any]) -> Sequence[str]:
    """A line for each alert, with the page that shows its cause."""
    found = []
    for alert in message["alerts"][:_SHOWN]:
        found.append(f"{_line(alert, _LONGEST)}{' ' + alert['url'] if alert.get('url') else ''}")
    if len(message["alerts"]) > _SHOWN:
        found.append(f"and {len(message['alerts']) - _SHOWN} more")
    return found


def _line(alert: Mapping[str, Any], length: int) -> str:
    return f"{_WORDS.get(str(alert['state']), '')}{safe(alert['sentence'], length=length)}"
