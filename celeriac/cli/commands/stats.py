"""``celery -A app stats``: the jobs of a span by state, how long they waited and ran."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.command import Command, Moment, as_json
from celeriac.cli.context import celeriac


@click.command(cls=Command, short_help="Jobs in numbers: states, waits, runs, retries, failures.")
@click.option("--since", type=Moment(), default="1h", show_default=True, help="Jobs accepted since then.")
@click.option("--until", type=Moment(), help="Jobs accepted before then.")
@click.option("--task", metavar="NAME", help="Only jobs of this task.")
@click.option("--queue", metavar="NAME", help="Only jobs of this queue.")
@as_json
@click.pass_context
def stats(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Show the jobs of a span in numbers, by task. Exits with 1 when there were none.

    A wait lasts until the last attempt began, a run is that attempt; failure is the share of ended jobs that
    were given up.
    """
    from celeriac.cli.views import platform_tables

    platform_tables.show_stats(ctx, celeriac(ctx), as_json=as_json, **options)
