"""``celery -A app queues``: depth in the ledger and in the broker, consumers; pause and resume."""

from __future__ import annotations

import click

from celeriac.cli.command import Command, Group, as_json, reason
from celeriac.cli.context import celeriac


@click.group(
    cls=Group, invoke_without_command=True, short_help="Queues: depth, age, rates, drift; pause, resume."
)
@as_json
@click.pass_context
def queues(ctx: click.Context, as_json: bool) -> None:
    """Show every queue, in the order in which workers draw.

    Rates are of the last five minutes. Drift is what the ledger has sent and the broker does not have:
    workers hold some of it, and what is lost is sent again by itself.
    """
    if ctx.invoked_subcommand is not None:
        return
    from celeriac.cli.views import platform_tables

    platform_tables.show_queues(ctx, celeriac(ctx), as_json=as_json)


@queues.command(cls=Command)
@click.argument("name")
@reason
@as_json
@click.pass_context
def pause(ctx: click.Context, name: str, reason: str | None, as_json: bool) -> None:
    """Let no more jobs of the queue NAME start, on any worker, until it is resumed. What runs goes on.

    A lane (gpu) is paused with its four levels, a level (gpu.high) alone. Jobs are accepted as before.
    """
    from celeriac.cli.views import platform_tables

    platform_tables.show_paused(celeriac(ctx), "queue", name, reason=reason, as_json=as_json)


@queues.command(cls=Command)
@click.argument("name")
@reason
@as_json
@click.pass_context
def resume(ctx: click.Context, name: str, reason: str | None, as_json: bool) -> None:
    """Let jobs of the queue NAME start again. Exits with 1 when it was not paused."""
    from celeriac.cli.views import platform_tables

    platform_tables.show_resumed(ctx, celeriac(ctx), "queue", name, reason=reason, as_json=as_json)
