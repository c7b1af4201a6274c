"""Apps of a test's own, with settings that are given and not read."""

from __future__ import annotations

from celeriac import Celeriac
from celeriac.settings.platform import Settings


def build(settings: Settings, *, name: str = "app", set_as_current: bool = True) -> Celeriac:
    """An app with ``settings``, whatever the environment says of them."""
    return Celeriac(name, settings=settings, set_as_current=set_as_current)


def mail_app(settings: Settings, *, name: str) -> Celeriac:
    """An app with the task of the jobs in ``tests.stock``."""
    made = build(settings, name=name, set_as_current=False)

    @made.task(name="mail.send", shared=False)
    def send(to: str, password: str = "") -> None: ...

    return made
