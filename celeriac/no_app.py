"""What stands where an app should be: without one, a job would go to a broker and have no row."""

from __future__ import annotations

from typing import Any, NoReturn

from celery import Celery, _state

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
