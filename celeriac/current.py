"""Which app is meant where none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import current_app
from kombu.utils.imports import symbol_by_name

from celeriac.no_app import stand_in

if TYPE_CHECKING:
    from celeriac.application import Celeriac


def meant(app: Celeriac | None = None) -> Celeriac:
    """``app``; or else the current one, as Celery finds it; or else the one that ``celery -A app`` finds.

    Raises:
        SettingsError: there was none yet, and its settings are wrong.
    """
    if app is not None:
        return app
    found: Celeriac = current_app._get_current_object()
    if not hasattr(found, "database"):  # Celery's own, which stands in until an app is made
        found = symbol_by_name("app.celery:app")
    return found


# Here, because whatever of the platform needs an app asks for it here. From now on, a task that is called
# where no app was made is refused: Celery would make one up, and the job would have no row.
stand_in()
