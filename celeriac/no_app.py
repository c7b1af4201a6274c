"""Where an app is looked for: a process that made none, a pickle of one that was made elsewhere.

Without an app, a job would go to a broker and have no row.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, NoReturn

from celery import Celery, _state
from kombu.utils.imports import symbol_by_name

from celeriac.errors import NoAppMade


class NoApp(Celery):
    """Celery's default app, in a process that uses the platform and made no app: it refuses what is sent."""

    def send_task(self, name: str, *args: Any, **options: Any) -> NoReturn:
        raise NoAppMade(name)


def stand_in() -> None:
    """Take the place of the app that Celery makes up where there is none; one that was made stays."""
    default = _state.default_app
    if default is None or (type(default) is Celery and default.main == "default"):
        NoApp("default", fixups=[], set_as_current=False).set_default()


def module_of(frame: FrameType | None) -> str:
    """The name of the module that called the function of ``frame``."""
    caller = frame.f_back if frame is not None else None
    return str(caller.f_globals.get("__name__", "")) if caller is not None else ""


def place_of(app: Any, module: str) -> str | None:
    """Where ``module`` keeps the app that it made (``proj.celery:app``); None: nowhere, or not yet."""
    names = vars(sys.modules.get(module, sys)).items()
    return next((f"{module}:{name}" for name, value in list(names) if value is app), None)


def unpickled(main: str | None, place: str | None, identity: str) -> Any:
    """The app that was pickled: the same one in this process, or the one that its module makes in another.

    Raises:
        NoAppMade: no app of that name is here, or more than one.
    """
    apps = [app for app in _state._get_active_apps() if hasattr(app, "_identity")]  # ours
    if (same := next((app for app in apps if app._identity == identity), None)) is not None:
        return same
    if place is not None and hasattr(found := symbol_by_name(place, default=place), "_identity"):
        return found
    alike = [app for app in apps if app.main == main]
    if len(alike) != 1:
        raise NoAppMade()
    return alike[0]
