"""The arguments of a job: which may travel, and how they are shown where people look.

A job's arguments must come back in the worker as they were given. What JSON would change or
refuse is refused here, at the call, with the name of the argument.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias
from uuid import UUID

from celery.utils.saferepr import saferepr

from celeriac.errors import BadArgument

#: Nesting that is accepted; the encoder's own limit depends on how deep the caller stands.
MAX_DEPTH = 100

#: Bits of the largest integer: Python reads back at most 4,300 digits (sys.set_int_max_str_digits).
MAX_BITS = 14_000

#: Values of one call, counted as often as they would be written.
MOST_VALUES = 1_000_000

HIDDEN = "***"

_SMALL = 2**63  # integers below need no look at their length

_PLAIN = frozenset({str, bool, type(None)})
_NUMBERS = frozenset({int, float, bool, type(None)})
_ENCODED = (datetime, date, time, Decimal, UUID, bytes)  # kombu's JSON brings these back
_SENSITIVE = re.compile(
    r"(^|_)pass$|pass(word|wd|phrase)|pwd|secret|token|credential|authorization|cookie(s|_?jar)?$"
    r"|(api|access|private|encryption)[-_]?key|(?<!dis)card[-_]?(number|num|no)$|(^|[-_])(cvv2?|cvc|ssn|iban|otp)$",
    re.I,
)

_Path: TypeAlias = "tuple[_Path | None, object]"


class Secret(str):
    """A text that travels as it is and is shown as ``***`` in headers, logs and the terminal.

    >>> Secret("hunter2")
    Secret('***')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"


def check(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Raise BadArgument for what would not come back as it is; return whether anything must be hidden."""
    if not kwargs and _are_plain(args):
        return False
    sensitive, seen = False, 0
    waiting: list[tuple[Any, _Path, int]] = [
        (args, (None, "args"), 0),
        (kwargs, (None, "kwargs"), 0),
    ]
    while waiting:
        value, path, depth = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:  # a small value may unfold without end: [[x, x], [x, x], …]
            raise BadArgument("arguments", f"more than {MOST_VALUES:,} values")
        kind = type(value)
        if kind in _PLAIN or (kind is int and -_SMALL < value < _SMALL):
            continue
        if kind is dict or isinstance(value, dict):
            _check_keys(value, path)
            sensitive = sensitive or any(is_sensitive(key) for key in value)
            children = value.items()
        elif isinstance(value, list | tuple):
            children = enumerate(value)
        else:
            _check_leaf(value, path)
            sensitive = sensitive or kind is Secret
            continue
        if depth >= MAX_DEPTH:
            raise BadArgument(
                _name(path)[:80], f"nested deeper than {MAX_DEPTH} levels, or it contains itself"
            )
        waiting.extend((child, (path, key), depth + 1) for key, child in children)
    return sensitive


#: A tuple: a union is made anew for each question, and these are asked of every header of every call.
_CONTAINERS = (dict, list, tuple)


def check_depth(values: Mapping[str, Any], where: str) -> None:
    """Refuse a value that is nested deeper than ``MAX_DEPTH`` levels, or that contains itself.

    Args:
        where: what ``values`` are, as the caller would write it: ``headers``.

    Raises:
        BadArgument: it names the value.

    >>> check_depth({"tenant": {"id": [1, 2]}}, "headers")
    """
    for name, value in values.items():
        if isinstance(value, _CONTAINERS) and _is_too_deep(value):
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
    return [child for child in children if isinstance(child, _CONTAINERS)]


def _are_plain(values: Sequence[Any]) -> bool:
    """Whether each of them is one that JSON keeps, and no container."""
    for value in values:
        kind = type(value)
        if not (kind in _PLAIN or (kind is int and -_SMALL < value < _SMALL)):
            return False
    return True


def represent(value: Any, *, names: Sequence[str] = (), hide: bool = True, length: int = 1024) -> str:
    """``value`` as people may see it: what is sensitive by its name or its type is hidden.

    Args:
        names: the parameters that positional arguments are for, when they are known.
    """
    if not value:
        return repr(value)
    if not hide and _is_flat(value):
        text = repr(value)
        if len(text) <= length:
            return text
    return str(saferepr(hidden(value, names) if hide else value, length))


def _is_flat(value: Any) -> bool:
    """Whether ``saferepr`` would say of ``value`` what ``repr`` says, at ten times the cost."""
    if type(value) is dict:
        return _is_flat([*value, *value.values()])
    return type(value) in (tuple, list) and all(
        type(one) in _NUMBERS
        or (type(one) is str and one.isascii() and one.isprintable() and _needs_no_escape(one))
        for one in value
    )


def _needs_no_escape(text: str) -> bool:
    return "'" not in text and "\\" not in text


def hidden(value: Any, names: Sequence[str] = ()) -> Any:
    """``value`` with ``***`` in place of what is sensitive by its name or its type."""
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: HIDDEN if is_sensitive(key) else hidden(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        known = [*names, *[""] * (len(value) - len(names))] if names else [""] * len(value)
        shown = [
            HIDDEN if is_sensitive(name) else hidden(child) for name, child in zip(known, value, strict=False)
        ]
        return shown if isinstance(value, list) else tuple(shown)
    return value


@lru_cache(maxsize=4096)
def is_sensitive(name: object) -> bool:
    """Whether a value of this name is one that people must not see.

    >>> is_sensitive("api_key"), is_sensitive("passenger")
    (True, False)
    """
    return isinstance(name, str) and _SENSITIVE.search(name) is not None


def _check_keys(value: Mapping[Any, Any], path: _Path) -> None:
    for key in value:
        if not isinstance(key, str):
            raise BadArgument(_name(path), f"JSON has only text as keys and would change {key!r} to text")
    if value.keys() == {"__type__", "__value__"}:
        raise BadArgument(
            _name(path), "the keys '__type__' and '__value__' alone would be rebuilt as another type"
        )


def _check_leaf(value: Any, path: _Path) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadArgument(_name(path), f"JSON has no {value!r}")
    elif isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise BadArgument(
                _name(path), f"an integer of {value.bit_length()} bits cannot be read back from JSON"
            )
    elif not (isinstance(value, (str, bool, *_ENCODED)) or hasattr(value, "__json__")):
        raise BadArgument(_name(path), f"{type(value).__name__} is not JSON")


def _name(path: _Path) -> str:
    parent, key = path
    if parent is None:
        return str(key)
    grand, first = parent
    if grand is None and first == "kwargs":
        return str(key)  # a keyword argument, by its own name
    return f"{_name(parent)}[{key!r}]"
