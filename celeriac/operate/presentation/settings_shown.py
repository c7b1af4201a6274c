"""Settings of the platform, and options of a task: what holds, and where it is set."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celeriac.display import exact_length
from celeriac.settings import from_conf
from celeriac.settings.conf import of_the_team
from celeriac.settings.platform import variable

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_HIDDEN = "***"
_ENVIRONMENT = "the environment"
_CODE = "the app"


@dataclass(frozen=True, slots=True)
class SettingShown:
    """One setting.

    Attributes:
        name: its variable in the environment.
        value: in words; a secret shows none.
        default: the same of the default.
        origin: where the value is set: ``the environment``, ``the app``, or the name of a setting of the
            app's configuration; None: nowhere, it is the default.
    """

    name: str
    value: str
    default: str
    origin: str | None


def settings_shown(app: Celeriac) -> list[SettingShown]:
    """Each setting of ``app``, in the order in which the page of settings has them."""
    settings = app.settings
    stated = from_conf.origins(of_the_team(app.conf), app.given_defaults)
    found = []
    for field, info in type(settings).model_fields.items():
        name, secret = variable(field), "Secret" in str(info.annotation)
        origin = None
        if field in settings.model_fields_set:
            origin = stated.get(field) or (_ENVIRONMENT if os.environ.get(name) else _CODE)
        value = _text(getattr(settings, field), secret=secret)
        default = _text(info.get_default(call_default_factory=True), secret=secret)
        found.append(SettingShown(name, value, default, origin))
    return found


def _text(value: Any, *, secret: bool) -> str:
    if value is None:
        return "none"
    if secret:
        return _HIDDEN
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text or "none"


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
