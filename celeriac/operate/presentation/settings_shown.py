"""The platform's settings as an operator may see them: value, default and where each comes from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
