"""The arguments of a job as fields of a form, one for each parameter of its task, and back again."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kombu.utils.json import dumps, loads

from celeriac.console.trees import with_hidden
from celeriac.enqueue.arguments import HIDDEN, hidden, is_sensitive
from celeriac.errors import BadArgument
from celeriac.operate.acting.argument_types import hints_of, in_words

_ARGS, _KWARGS = "args", "kwargs"
_MANY = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})

Arguments = tuple[Sequence[Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A parameter.

    Attributes:
        text: its value as JSON, with what is sensitive hidden; empty: it was not given.
        wanted: its annotation, for people; empty: it has none.
    """

    name: str
    text: str
    wanted: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Change:
    name: str
    before: str
    after: str


def fields_of(task: Any, old: Arguments) -> list[Field]:
    """The fields; two for all arguments, where the task is not known here or its signature has changed."""
    bound = _bound(task, old)
    if bound is None:
        return [
            Field(name=name, text=_shown(name, value), wanted=wanted, optional=True)
            for name, value, wanted in ((_ARGS, list(old[0]), "array"), (_KWARGS, dict(old[1]), "object"))
        ]
    hints = hints_of(task)
    return [
        Field(
            name=name,
            text=_shown(name, _plain(bound[name])) if name in bound else "",
            wanted=in_words(hints[name]) if name in hints else "",
            optional=parameter.default is not parameter.empty or parameter.kind in _MANY,
        )
        for name, parameter in _parameters(task).items()
    ]


def read(task: Any, old: Arguments, texts: Mapping[str, str]) -> Arguments:
    """The arguments that a form says; what was left hidden is as it was.

    Raises:
        BadArgument: a field is no JSON, or is of another kind. It names the field.
    """
    bound = _bound(task, old)
    if bound is None:
        args, kwargs = _json(_ARGS, texts.get(_ARGS) or "[]"), _json(_KWARGS, texts.get(_KWARGS) or "{}")
        return (
            _of_kind(_ARGS, with_hidden(args, list(old[0])), list),
            _of_kind(_KWARGS, with_hidden(kwargs, dict(old[1])), dict),
        )
    given = {
        name: with_hidden(_json(name, text), _plain(bound.get(name)))
        for name in _parameters(task)
        if (text := texts.get(name, "").strip())
    }
    return _split(task, given, positional=len(old[0]))


def changes(before: Sequence[Field], typed: Sequence[Field], after: Sequence[Field]) -> list[Change]:
    """What is different, with what is sensitive hidden.

    Args:
        typed: as the form has it, in which a new secret stands as it is.
    """
    found = []
    for old, given, new in zip(before, typed, after, strict=True):
        if old.text != new.text:
            found.append(Change(old.name, old.text, new.text))
        elif is_hidden(new) and not is_hidden(given):
            found.append(Change(old.name, old.text, f"{new.text}, another one"))
    return found


def is_hidden(one: Field) -> bool:
    """Whether a part of its value is hidden."""
    return HIDDEN in one.text


def _parameters(task: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(task.run).parameters


def _bound(task: Any, old: Arguments) -> dict[str, Any] | None:
    if task is None:
        return None
    try:
        return dict(inspect.signature(task.run).bind_partial(*old[0], **old[1]).arguments)
    except (TypeError, ValueError):
        return None


def _split(task: Any, given: dict[str, Any], *, positional: int) -> Arguments:
    """Positional as they were before, as far as none is left out; the others by their names."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    ordered = True
    for name, parameter in _parameters(task).items():
        if name not in given:
            ordered = ordered and parameter.kind in _MANY
        elif parameter.kind is parameter.VAR_POSITIONAL:
            args += _of_kind(name, given[name], list)
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs |= _of_kind(name, given[name], dict)
        elif parameter.kind is parameter.POSITIONAL_ONLY or (
            parameter.kind is not parameter.KEYWORD_ONLY and ordered and len(args) < positional
        ):
            args.append(given[name])
        else:
            kwargs[name] = given[name]
    return args, kwargs


def _plain(value: Any) -> Any:
    """As JSON has it: the rest of the arguments is bound as a tuple."""
    return list(value) if isinstance(value, tuple) else value


def _shown(name: str, value: Any) -> str:
    return str(dumps(HIDDEN if is_sensitive(name) else hidden(value)))


def _json(name: str, text: str) -> Any:
    try:
        return loads(text)
    except (ValueError, RecursionError, TypeError, KeyError) as exc:
        hint = "a text needs its quotes" if not text.startswith(("[", "{", '"')) else "see the form of JSON"
        raise BadArgument(name, f"no JSON: {str(exc)[:100]}; {hint}") from None


def _of_kind(name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise BadArgument(name, f"wanted a JSON {'array' if kind is list else 'object'}")
    return value


def as_python(task: str, values: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """The call that enqueues the same job, with what is sensitive hidden."""
    more = "".join(f", {name}={value!r}" for name, value in options.items())
    return f"app.send_task({task!r}, args={values['args']!r}, kwargs={values['kwargs']!r}{more})"


def as_body(task: str, values: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """The body of ``POST /api/v1/jobs`` that enqueues the same job."""
    return json.dumps({"task": task, "args": values["args"], "kwargs": values["kwargs"], **options})
