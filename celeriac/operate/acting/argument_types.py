"""Check arguments that a person typed against the annotations of the task."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from celeriac.errors import BadArgument

#: What JSON has, and what it has a text for. Other annotations are not checked.
_KNOWN = frozenset({int, float, str, bool, type(None), list, dict, tuple, set, Any})
_TEXTS = frozenset({datetime, date, time, timedelta, Decimal, UUID})
_MADE_OF = frozenset({list, dict, tuple, set, Union, types.UnionType, Annotated, Sequence, Mapping})


def check(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check that each argument is of the type that the task's signature names.

    Raises:
        BadArgument: one is not. It names the parameter and the type, and shows no value.
    """
    run = getattr(task, "run", None)
    if run is None:
        return
    try:
        given = inspect.signature(run).bind(*args, **kwargs).arguments
    except TypeError as exc:
        raise BadArgument("arguments", str(exc)) from None
    hints = hints_of(task)
    for name, value in given.items():
        hint = hints.get(name)
        if hint is not None and _is_checked(hint) and not _is_variadic(run, name):
            _check(name, value, hint)


def hints_of(task: Any) -> dict[str, Any]:
    """The annotations of a task's parameters; none where they cannot be read."""
    try:
        return get_type_hints(task.run, include_extras=True)
    except Exception:  # an annotation may name what only a type checker imports
        return {}


def in_words(hint: Any) -> str:
    """An annotation, for people.

    >>> in_words(int), in_words(list[str])
    ('int', 'list[str]')
    """
    return (
        hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
    )


def _check(name: str, value: Any, hint: Any) -> None:
    try:
        _adapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as exc:
        said = str(exc.errors(include_input=False, include_url=False)[0]["msg"])
        raise BadArgument(name, f"wanted {in_words(hint)}: {said[:200]}") from None
    except (TypeError, ValueError, RecursionError):
        return  # no JSON: the check of all arguments says so


@lru_cache(maxsize=512)
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _is_checked(hint: Any) -> bool:
    """Whether JSON can tell the type, in all of its parts."""
    if hint in _KNOWN | _TEXTS:
        return True
    origin = get_origin(hint)
    if origin is Literal:
        return True
    return origin in _MADE_OF and all(map(_is_checked, _parts(hint)))


def _parts(hint: Any) -> Sequence[Any]:
    parts = get_args(hint)
    return parts[:1] if get_origin(hint) is Annotated else [part for part in parts if part is not Ellipsis]


def _is_variadic(run: Any, name: str) -> bool:
    kind = inspect.signature(run).parameters[name].kind
    return kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
