"""Celery's own commands and Flower: what the platform refuses there is a sentence, not a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from celeriac.errors import CeleriacError


def show_refusals(app: Any) -> None:
    """Let the command that is being called tell our refusals as our own commands do.

    To be called when the app is made: where there is a command line, its context is there by then.
    """
    context = click.get_current_context(silent=True)
    if context is None or not _is_celerys(context.command):
        return
    context.with_resource(_refusals_shown(app))
    if context.invoked_subcommand == "flower":
        from celeriac.cli import flower_api  # Flower and tornado are slow to import

        flower_api.install()


def _is_celerys(command: click.Command) -> bool:
    """Whether it is Celery's command line, and not that of a project which imports the app."""
    module = sys.modules.get("celery.bin.celery")
    return module is not None and command is module.celery


class RefusedCommand(click.ClickException):
    """A refusal of the platform, as Click shows it."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code  # type: ignore[misc]  # which Click reads of the instance

    def show(self, file: Any = None) -> None:
        click.secho(f"error: {self.message}", fg="red", err=True)


@contextmanager
def _refusals_shown(app: Any) -> Iterator[None]:
    try:
        yield
    except CeleriacError as exc:
        from celeriac.cli.refusals import refusal_of  # which knows the database: not for a probe

        refusal = refusal_of(exc, app)
        if refusal is None:
            raise
        raise RefusedCommand(refusal.sentence, refusal.code) from None
