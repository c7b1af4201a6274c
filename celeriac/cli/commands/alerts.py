"""``celery -A app alerts``: what is wrong and was told, and a message to try whether it arrives."""

from __future__ import annotations

import click

from celeriac.cli.command import Command, Seconds, as_json
from celeriac.cli.context import celeriac


@click.group(short_help="Alerts: list what was told, test the receivers.")
def alerts() -> None:
    """What the workers tell outside: to a webhook, Slack, or by mail. See docs/alerts.md."""


@alerts.command("list", cls=Command)
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """What is wrong now and was told, the newest first. Exits with 1 when nothing is."""
    from celeriac.cli.views import alert_list

    alert_list.show_all(ctx, celeriac(ctx), as_json=as_json)


@alerts.command(cls=Command)
@click.option(
    "--wait", type=Seconds(), default="30s", show_default=True, help="For the first attempt, at most."
)
@as_json
@click.pass_context
def test(ctx: click.Context, wait: float, as_json: bool) -> None:
    """Send a message to every receiver, by a worker, as an alert. Exits with 1 when one did not take it."""
    from celeriac.cli.views import alert_list

    alert_list.test(ctx, celeriac(ctx), wait=wait, as_json=as_json)
