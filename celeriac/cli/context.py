"""Find the app that a command was called for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from celeriac.application import Celeriac


def celeriac(ctx: click.Context) -> Celeriac:
    """The app of ``celery -A``.

    Raises:
        click.UsageError: it is a plain Celery app, or none was named.
    """
    from celeriac.application import Celeriac

    app = ctx.obj.app
    if not isinstance(app, Celeriac):
        raise click.UsageError("name the app: celery -A app …")
    return app


def named_app(ctx: click.Context) -> str:
    """What ``celery -A`` was called with, so that another process finds the same app."""
    return str(ctx.find_root().params.get("app") or "app")
