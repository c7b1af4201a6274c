"""``celery -A app demo``: the whole platform on this machine, and a load of real jobs to watch."""

from __future__ import annotations

import click
from celery.bin.base import CeleryCommand

from celeriac.cli.context import celeriac
from celeriac.errors import CeleriacError

_FEWEST = 20  # jobs: at least one of each sort


@click.command(cls=CeleryCommand, short_help="Everything on this machine, and a load of real jobs to watch.")
@click.option("--exit", "leave", is_flag=True, help="Stop when the load is done.")
@click.option("--jobs", type=click.IntRange(min=_FEWEST), default=240, show_default=True, help="How many.")
@click.option(
    "--within", type=click.FloatRange(min=1), default=300, show_default=True, help="Seconds for the load."
)
@click.pass_context
def demo(ctx: click.Context, leave: bool, jobs: int, within: float) -> None:
    """Start worker, beat and Flower, with a private Valkey unless CELERY_BROKER_URL names another broker, and
    let them deliver webhooks to a receiver that misbehaves on purpose.

    Ctrl-C stops everything. The status is 1 if a job did not end in the state in which it should.
    """
    # Celery imports every sub-command, whichever is called: what this one needs is imported when it runs.
    from app.demo.demonstration import demonstrate

    try:
        well = demonstrate(celeriac(ctx), jobs=jobs, within=within, leave=leave)
    except CeleriacError as exc:
        click.secho(f"error: {exc}", fg="red", err=True)
        ctx.exit(1)
    ctx.exit(0 if well else 1)
