"""How deep a value may be nested: what is deeper cannot be handed to a child, or not by every caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.enqueue.arguments import MAX_DEPTH
from celeriac.errors import BadArgument


def check_depth(values: Mapping[str, Any], where: str) -> None:
    """Refuse a value that is nested deeper than ``MAX_DEPTH`` levels, or that contains itself.

    Args:
        where: what ``values`` are, as the caller would write it: ``headers``.

    Raises:
        BadArgument: it names the value.

    >>> check_depth({"tenant": {"id": [1, 2]}}, "headers")
    """
    for name, value in values.items():
        if isinstance(value, dict | list | tuple) and _is_too_deep(value):
            reason = f"nested deeper than {MAX_DEPTH} levels, or it contains itself"
            raise BadArgument(f"{where}[{name!r}]"[:80], reason)


def _is_too_deep(value: Any) -> bool:
    """Walks level by level; what stands at several places of a level is looked at once."""
    level = {id(value): value}
    for _ in range(MAX_DEPTH):
        level = {id(child): child for each in level.values() for child in _containers_in(each)}
        if not level:
            return False
    return True


def _containers_in(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value
    return [child for child in children if isinstance(child, dict | list | tuple)]
