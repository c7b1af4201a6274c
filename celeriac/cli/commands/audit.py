"""``celery -A app audit``: who did what.

Celery imports every sub-command, whichever is called: what these need is imported when they run.
"""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.command import Command, Moment, as_json
from celeriac.cli.context import celeriac


@click.command(cls=Command, short_help="Who did what: actions of the console, the API, the commands.")
@click.option("--who", metavar="NAME", help="Only actions of this person.")
@click.option("--action", metavar="NAME", help="Only these: cancel, replay, schedule disable …")
@click.option("--job", metavar="ID", help="Only actions on this one job.")
@click.option("--since", type=Moment(), help="Begun at or after: 2h, 3d, or ISO 8601.")
@click.option("--until", type=Moment(), help="Begun before.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Of a page.")
@click.option("--after", metavar="KEY", help="The page behind this key, which the page before ended with.")
@as_json
@click.pass_context
def audit(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """List what operators did, the newest first. Exits with 1 when no action fits."""
    from celeriac.cli.views import audit_list

    audit_list.show(ctx, celeriac(ctx), as_json=as_json, **options)
