"""``celery -A app doctor``: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import click

from celeriac.cli.command import Command, as_json
from celeriac.cli.context import celeriac


@click.command(cls=Command, short_help="What ails it: settings, broker, database, workers, beat, ledger.")
@click.option(
    "--adopt",
    metavar="APP",
    help="Read a plain Celery app, or the source below a path: what would change here.",
)
@as_json
@click.pass_context
def doctor(ctx: click.Context, adopt: str | None, as_json: bool) -> None:
    """Examine the installation. Exits with 0 when all is well, 1 with a warning, 2 with a failure.

    With --adopt: exits with 1 while something blocks. No app of ours is needed for it.
    """
    from celeriac.cli.views import doctor_report

    if adopt is None:
        doctor_report.show(ctx, celeriac(ctx), as_json=as_json)
    else:
        doctor_report.show_adoption(ctx, adopt, as_json=as_json)
