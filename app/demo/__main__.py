"""``python -m app.demo``: the whole platform on this machine, and a load of real jobs to watch."""

from __future__ import annotations

import sys

import click

from app.celery import app
from app.demo.demonstration import demonstrate
from celeriac.errors import CeleriacError

_FEWEST = 20  # jobs: at least one of each sort


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Stop when the load is done.")
@click.option("--jobs", type=click.IntRange(min=_FEWEST), default=240, show_default=True, help="How many.")
@click.option(
    "--within", type=click.FloatRange(min=1), default=300, show_default=True, help="Seconds for the load."
)
def demo(leave: bool, jobs: int, within: float) -> None:
    """Start worker, beat, Flower and the console, and let them deliver webhooks to a receiver that misbehaves
    on purpose; with a private Valkey unless CELERY_BROKER_URL names another broker.

    Ctrl-C stops everything. The status is 1 if a job did not end in the state in which it should.
    """
    try:
        well = demonstrate(app, jobs=jobs, within=within, leave=leave)
    except CeleriacError as exc:
        raise click.ClickException(str(exc)) from exc
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    demo()
