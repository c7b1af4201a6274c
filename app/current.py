"""Which app is meant where none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import current_app

if TYPE_CHECKING:
    from app.application import Celeriac


def meant(app: Celeriac | None = None) -> Celeriac:
    """``app``; or else the current one, as Celery finds it."""
    found: Celeriac = current_app._get_current_object() if app is None else app
    return found
