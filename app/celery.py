"""The app that ``celery -A app`` finds: built from the environment when this module is imported."""

from typing import Any

import click
from celery.signals import import_modules, setup_logging

from celeriac.cli.celery_commands import show_refusals
from celeriac.errors import SettingsError
from celeriac.factory import build
from celeriac.observe.flower_guard import guard_flower
from celeriac.settings import read_settings

try:
    app = build(read_settings())
except SettingsError as exc:
    if click.get_current_context(silent=True) is None:
        raise
    # Celery's command line would print a traceback around whatever else an import raises.
    raise SystemExit(f"celery: {exc}") from None


@setup_logging.connect(weak=False)
def _configure_logs(**options: Any) -> None:
    from celeriac.observe import logs  # a probe, a command or a producer that has no log does not wait for it

    logs.configure(app, **options)


import_modules.connect(guard_flower, weak=False)
show_refusals(app)
