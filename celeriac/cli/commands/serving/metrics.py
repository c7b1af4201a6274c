"""``celery -A app metrics``: the ledger for Prometheus.

Celery imports every sub-command, whichever is called: what this needs is imported when it runs.
"""

from __future__ import annotations

import click

from celeriac.cli.command import Command
from celeriac.cli.context import celeriac


@click.command(cls=Command, short_help="Metrics of the ledger, for Prometheus.")
@click.option("--port", type=click.IntRange(1, 65_535), default=9808, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--once", is_flag=True, help="Print them and end.")
@click.pass_context
def metrics(ctx: click.Context, port: int, address: str, once: bool) -> None:
    """Serve metrics at http://ADDRESS:PORT/metrics until Ctrl-C.

    One exporter is enough for any number of workers.
    """
    from celeriac.cli.views import metrics_server

    if once:
        metrics_server.show(celeriac(ctx))
    else:
        metrics_server.serve(celeriac(ctx), address=address, port=port)
