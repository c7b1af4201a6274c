"""The headers of a message: whether the row can keep them as they are.

Properties that a call gives its message, beside those of every message, are kept in them too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from celeriac.enqueue.arguments import MAX_BITS
from celeriac.errors import BadArgument
from celeriac.headers import CARRIED, PROPERTIES, carried
from celeriac.names import NAME_LENGTH, check_text

#: Nesting that is accepted. A worker pickles headers for its children, by recursion.
MAX_DEPTH = 32

_PLAIN = frozenset({str, int, bool, type(None)})
_CONTAINERS = (dict, list, tuple)  # a union would be made anew for each question
_SMALL = 2**63  # integers below need no look at their length


def check(headers: Mapping[Any, Any]) -> None:
    """Raise BadArgument for a header that is no JSON, or nested too deep. The row keeps headers as JSON."""
    for name, value in headers.items():
        if type(value) is str or value is None or value is True or value is False:
            continue
        _check(f"headers[{name!r}]", value, 0)
    for name in headers:
        if type(name) is not str:
            raise BadArgument("headers", f"JSON has only text as keys, found {name!r}")


def carry_properties(headers: dict[str, Any], options: Mapping[str, Any], *, reply_to: str) -> None:
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


def foreign_properties(properties: Mapping[str, Any], task_id: str) -> dict[str, Any]:
    """The header that keeps what a foreign message has of them; none where it has nothing."""
    told = {name: properties.get(name) for name in CARRIED}
    found = {
        name: value
        for name, value in told.items()
        if isinstance(value, str) and 0 < len(value) <= NAME_LENGTH and value != task_id
    }
    return {PROPERTIES: found} if found else {}


def _check(path: str, value: Any, depth: int) -> None:
    kind = type(value)
    if kind is int and -_SMALL < value < _SMALL:
        return
    if kind in _PLAIN and kind is not int:
        return
    if isinstance(value, _CONTAINERS):
        if depth >= MAX_DEPTH:
            raise BadArgument(path[:80], f"nested deeper than {MAX_DEPTH} levels, or it contains itself")
        _check_children(path, value, depth)
    else:
        _check_leaf(path, value)


def _check_children(path: str, value: Any, depth: int) -> None:
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                raise BadArgument(path[:80], f"JSON has only text as keys, found {key!r}")
            _check(f"{path}[{key!r}]", child, depth + 1)
    else:
        for number, child in enumerate(value):
            _check(f"{path}[{number}]", child, depth + 1)


def _check_leaf(path: str, value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadArgument(path[:80], f"JSON has no {value!r}")
    elif isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise BadArgument(
                path[:80], f"an integer of {value.bit_length()} bits cannot be read back from JSON"
            )
    elif not isinstance(value, str):
        raise BadArgument(path[:80], f"{type(value).__name__} is not JSON")
