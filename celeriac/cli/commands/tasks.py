"""``celery -A app tasks``: pause a task, and let it go on."""

from __future__ import annotations

import click

from celeriac.cli.command import Command, as_json, reason
from celeriac.cli.context import celeriac


@click.group(short_help="Tasks: pause, resume.")
def tasks() -> None:
    """Pause a task, whatever its queue, and let it go on. `stats` has the tasks in numbers."""


@tasks.command(cls=Command)
@click.argument("name")
@reason
@as_json
@click.pass_context
def pause(ctx: click.Context, name: str, reason: str | None, as_json: bool) -> None:
    """Let no more jobs of the task NAME start, on any worker, until it is resumed. What runs goes on."""
    from celeriac.cli.views import platform_tables

    platform_tables.show_paused(celeriac(ctx), "task", name, reason=reason, as_json=as_json)


@tasks.command(cls=Command)
@click.argument("name")
@reason
@as_json
@click.pass_context
def resume(ctx: click.Context, name: str, reason: str | None, as_json: bool) -> None:
    """Let jobs of the task NAME start again. Exits with 1 when it was not paused."""
    from celeriac.cli.views import platform_tables

    platform_tables.show_resumed(ctx, celeriac(ctx), "task", name, reason=reason, as_json=as_json)
