"""A value of a job as rows of a tree, a line each. What is hidden can be asked for by its path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from celeriac.display import safe
from celeriac.enqueue.arguments import HIDDEN

_DEEPEST = 24  # levels; what is deeper is one line
_MOST = 400  # rows
_LONGEST = 2_000  # characters of a line

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    depth: int
    name: str
    text: str  # empty: its children follow
    hidden: bool
    path: str  # as JSON


@dataclass(frozen=True, slots=True)
class Tree:
    rows: Sequence[Row]
    cut: bool  # there is more than is shown


def tree(value: Any, root: Path) -> Tree:
    """The rows of ``value``.

    >>> [(row.depth, row.name, row.text) for row in tree([1, {"password": "***"}], ("args",)).rows]
    [(0, '0', '1'), (0, '1', ''), (1, 'password', '"***"')]
    """
    found = list(islice(_rows(value, root, 0), _MOST + 1))
    return Tree(found[:_MOST], len(found) > _MOST)


def at(value: Any, path: Sequence[Any]) -> Any:
    """What is at ``path`` inside ``value``.

    Raises:
        LookupError: nothing is.
    """
    for step in path:
        fits = str if isinstance(value, Mapping) else int if isinstance(value, list | tuple) else None
        if type(step) is not fits:
            raise LookupError(step)
        value = value[step]
    return value


def one_line(value: Any) -> str:
    """``value`` as JSON in one line, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError) as exc:  # a number of thousands of digits, or too deep
        text = f"cannot be shown: {exc}"
    return safe(text, length=_LONGEST)


def _rows(value: Any, path: Path, depth: int) -> Iterator[Row]:
    pairs: Iterator[tuple[str | int, Any]]
    if isinstance(value, Mapping):
        pairs = iter((str(key), child) for key, child in value.items())
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        yield _row("", value, path, depth)
        return
    for key, child in pairs:
        below = (*path, key)
        if isinstance(child, Mapping | list | tuple) and child and depth < _DEEPEST:
            yield Row(depth, safe(key, length=200), "", False, "")
            yield from _rows(child, below, depth + 1)
        else:
            yield _row(str(key), child, below, depth)


def _row(name: str, value: Any, path: Path, depth: int) -> Row:
    return Row(depth, safe(name, length=200), one_line(value), value == HIDDEN, json.dumps(path))


def with_hidden(new: Any, old: Any) -> Any:
    """``new``, in which what was left hidden is what it is in ``old``.

    >>> with_hidden({"to": "b", "password": "***"}, {"to": "a", "password": "s3cret"})
    {'to': 'b', 'password': 's3cret'}
    """
    if new == HIDDEN:
        return HIDDEN if old is None else old
    if isinstance(new, dict):
        known = old if isinstance(old, Mapping) else {}
        return {key: with_hidden(value, known.get(key)) for key, value in new.items()}
    if isinstance(new, list):
        before = list(old) if isinstance(old, list | tuple) else []
        return [with_hidden(value, before[n] if n < len(before) else None) for n, value in enumerate(new)]
    return new
