"""``celery -A app queues``: their depth in the ledger and in the broker, and their consumers."""

from __future__ import annotations

import click

from celeriac.cli.command import Command, as_json
from celeriac.cli.context import celeriac


@click.command(cls=Command, short_help="Queues: depth, age, rates, consumers, drift.")
@as_json
@click.pass_context
def queues(ctx: click.Context, as_json: bool) -> None:
    """Show every queue, in the order in which workers draw.

    Rates are of the last five minutes. Drift is what the ledger has sent and the broker does not have:
    workers hold some of it, and what is lost is sent again by itself.
    """
    from celeriac.cli.views import platform_tables

    platform_tables.show_queues(ctx, celeriac(ctx), as_json=as_json)
