"""``celery -A app health``: whether this machine's worker or beat lives, for containers. Needs no server."""

from __future__ import annotations

import json
import time

import click

from celeriac.cli.command import Command, as_json
from celeriac.cli.context import celeriac


@click.command(cls=Command, short_help="Whether this machine's worker or beat lives; for containers.")
@click.option("--role", type=click.Choice(["worker", "beat"]), help="Only of these.")
@click.option("--ready", is_flag=True, help="Also that it reaches ledger and broker.")
@as_json
@click.pass_context
def health(ctx: click.Context, role: str | None, ready: bool, as_json: bool) -> None:
    """Read the liveness files below the data directory. Exits with 1 when one is ill, or there is none."""
    from celeriac.observe import liveness

    settings = celeriac(ctx).settings
    judged = [
        (report, liveness.judge(report, now=time.time(), silence=settings.worker_timeout))
        for report in liveness.known(settings.data_dir, role=role)
    ]
    if as_json:
        processes = [
            {"role": each.role, "pid": each.pid, "live": is_.live, "ready": is_.ready, "reason": is_.reason}
            for each, is_ in judged
        ]
        click.echo(json.dumps({"version": 1, "command": "health", "processes": processes}, indent=2))
    else:
        for each, is_ in judged:
            state = "ready" if is_.ready else "live, not ready" if is_.live else "ill"
            click.echo(f"{each.role} {each.pid}: {state}{f': {is_.reason}' if is_.reason else ''}")
    if not judged:
        click.echo(f"no {role or 'worker or beat'} has a liveness file on this machine", err=True)
    ctx.exit(0 if judged and all(is_.ready if ready else is_.live for _, is_ in judged) else 1)
