"""``celery -A app workers``: which live, which queues they consume, which jobs they run; drain one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from celeriac.cli.command import Command, Group, Moment, as_json, reason
from celeriac.cli.context import celeriac


@click.group(
    cls=Group,
    invoke_without_command=True,
    short_help="Workers: alive or silent, queues, jobs they run; drain.",
)
@click.option("--since", type=Moment(), default="1h", show_default=True, help="Heard of within: 15m, 2h, 3d.")
@as_json
@click.pass_context
def workers(ctx: click.Context, since: Any, as_json: bool) -> None:
    """Show the workers of which the ledger heard lately. Exits with 1 when none of them lives."""
    if ctx.invoked_subcommand is not None:
        return
    from celeriac.cli.views import platform_tables

    if not isinstance(since, timedelta):
        raise click.BadParameter("wanted a span: 15m, 2h, 3d", param_hint="--since")
    platform_tables.show_workers(ctx, celeriac(ctx), within=since, as_json=as_json)


@workers.command(cls=Command)
@click.argument("name")
@reason
@as_json
@click.pass_context
def drain(ctx: click.Context, name: str, reason: str | None, as_json: bool) -> None:
    """Let the worker NAME draw nothing more. What it has goes on; started anew, it draws again."""
    from celeriac.cli.views import platform_tables

    platform_tables.show_drained(celeriac(ctx), name, reason=reason, as_json=as_json)
