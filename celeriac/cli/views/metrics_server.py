"""An HTTP server for the metrics of the ledger."""

from __future__ import annotations

import signal
import threading
from typing import Any

import click
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from celeriac.application import Celeriac
from celeriac.operate.ledger_metrics import LedgerCollector


def show(app: Celeriac) -> None:
    click.echo(generate_latest(_registry(app)).decode(), nl=False)


def serve(app: Celeriac, *, address: str, port: int) -> None:
    """Until SIGINT or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        # Nothing is returned before prometheus_client 0.19; its daemon thread ends with the process.
        started: Any = start_http_server(port, addr=address, registry=_registry(app))
    except OSError as exc:
        raise click.ClickException(f"cannot listen on {address}:{port}: {exc.strerror}") from None
    click.echo(f"metrics of the ledger: http://{address}:{port}/metrics")
    ended.wait()
    if started is not None:
        server, thread = started
        server.shutdown()
        thread.join(5)
        server.server_close()


def _registry(app: Celeriac) -> CollectorRegistry:
    app.loader.import_default_modules()  # else every task would be counted as ``other``
    registry = CollectorRegistry()
    registry.register(LedgerCollector(app))
    return registry
