"""The options of a task that decide how its jobs run: what holds, and where it is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celeriac.display import exact_length
from celeriac.settings.platform import variable

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_TASK, _DEFAULT = "the task", "the default"


@dataclass(frozen=True, slots=True)
class TaskOption:
    """One option.

    Attributes:
        value: that holds, in words.
        origin: ``the task``, the name of a setting, or ``the default``.
    """

    name: str
    value: str
    origin: str


def task_options(app: Celeriac, task: Any) -> list[TaskOption]:
    """The options that every task has, and those of the flow that this one names."""
    named = {name: getattr(task, name, None) for name in (*_OF_EVERY, *_OF_FLOW)}
    found = [_of_every(app, name, named[name]) for name in _OF_EVERY]
    return found + [TaskOption(name, str(named[name]), _TASK) for name in _OF_FLOW if named[name] is not None]


def _of_every(app: Celeriac, name: str, value: Any) -> TaskOption:
    words = _OF_EVERY[name]
    if value is not None and not (name == "ignore_result" and value == app.conf.task_ignore_result):
        return TaskOption(name, words(value), _TASK)
    if name in type(app.settings).model_fields:
        held = getattr(app.settings, name)
        return TaskOption(name, "none" if held is None else words(held), variable(name))
    return TaskOption(name, _DEFAULTS.get(name, "none"), _DEFAULT)


def _seconds(value: Any) -> str:
    return exact_length(timedelta(seconds=float(value)))


def _days(value: Any) -> str:
    return f"{float(value):g} d"


def _yes(value: Any) -> str:
    return "yes" if value else "no"


_OF_EVERY: dict[str, Callable[[Any], str]] = {
    "max_tries": str,
    "priority": str,
    "queue": str,
    "timeout": _seconds,
    "retry_base": _seconds,
    "retry_max": _seconds,
    "rate_limit": str,
    "keep_days": _days,
    "ignore_result": _yes,
}
_OF_FLOW = ("limit", "ordered_by", "unique", "debounce", "throttle", "batch")
_DEFAULTS = {"priority": "normal", "queue": "the default lane", "ignore_result": "no"}
