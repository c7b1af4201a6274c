"""``celery -A app up``: the whole platform on one machine, until Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from celeriac.cli.context import celeriac, named_app
from celeriac.errors import CeleriacError

if TYPE_CHECKING:
    from celeriac.stack.supervisor import Stack

_LEVELS = ("debug", "info", "warning", "error", "critical")


@click.command(short_help="Everything on this machine: worker, beat, console, a Valkey.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Jobs that run at a time.")
@click.option("--no-beat", is_flag=True, help="Without the scheduler.")
@click.option("--no-flower", is_flag=True, help="Without Flower.")
@click.option("--no-console", is_flag=True, help="Without the console.")
@click.option("-l", "--loglevel", type=click.Choice(_LEVELS, case_sensitive=False), default="info")
@click.pass_context
def up(ctx: click.Context, /, concurrency: int | None, loglevel: str, **without: bool) -> None:
    """Start worker, beat, Flower and the console.

    With a private Valkey unless CELERY_BROKER_URL names another broker.

    Ctrl-C waits for running jobs and stops everything; a second one gives them up.
    """
    # Celery imports every sub-command, whichever is called: what this one needs is imported when it runs.
    from celeriac.stack.services import Options
    from celeriac.stack.supervisor import Stack

    options = Options(
        concurrency,
        beat=not without["no_beat"],
        flower=not without["no_flower"],
        console=not without["no_console"],
        loglevel=loglevel,
        app=named_app(ctx),
    )
    try:
        with Stack(celeriac(ctx), options=options) as stack:
            if stack.start():
                _welcome(stack)
                stack.wait()
            click.echo("\nstopping; running jobs are waited for, Ctrl-C again gives them up")
    except CeleriacError as exc:
        click.secho(f"error: {exc}", fg="red", err=True)
        ctx.exit(1)


def _welcome(stack: Stack) -> None:
    click.echo()
    for name, url in stack.urls.items():
        click.secho(f"  {name:<8} {url}", bold=True)
    click.secho("  Ctrl-C stops everything\n", bold=True)
