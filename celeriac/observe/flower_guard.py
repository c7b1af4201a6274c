"""Refuse to start Flower beyond the loopback interface without authentication."""

from __future__ import annotations

from typing import Any

import click
from celery.signals import import_modules

from celeriac.errors import FlowerExposed

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def listen_on(address: str, *, authenticated: bool) -> str:
    """The address to listen on: what was asked for, or the loopback interface when nothing was.

    Raises:
        FlowerExposed: beyond the loopback interface without authentication.

    >>> listen_on("", authenticated=False), listen_on("0.0.0.0", authenticated=True)
    ('127.0.0.1', '0.0.0.0')
    """
    if not address:
        return "127.0.0.1"
    if address not in _LOOPBACK and not authenticated:
        raise FlowerExposed(address)
    return address


def register(app: Any) -> None:
    """Guard Flower where it is started for ``app``."""
    import_modules.connect(guard_flower, sender=app, weak=False)


def guard_flower(**_: Any) -> None:
    """A receiver of Celery's ``import_modules``, which Flower sends before it listens."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "flower":
        return
    from tornado.options import options

    try:
        options.address = listen_on(options.address, authenticated=bool(options.basic_auth or options.auth))
    except FlowerExposed as exc:
        raise SystemExit(f"celery: {exc}") from None
