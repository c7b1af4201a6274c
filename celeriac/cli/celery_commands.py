"""Make Celery's own commands and Flower show our refusals as a sentence, not as a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from celeriac.errors import CeleriacError


def show_refusals(app: Any) -> None:
    """Make the Celery command that is being called print our refusals as our own commands do.

    Call it when the app is made. Celery's command line has its context by then.
    """
    context = click.get_current_context(silent=True)
    if context is None or not _is_celerys(context.command):
        return
    context.with_resource(_refusals_shown(app))
    if context.invoked_subcommand == "flower":
        from celeriac.cli import flower_api  # Flower and tornado are slow to import

        flower_api.install()


def _is_celerys(command: click.Command) -> bool:
    """Whether it is Celery's command, not the command of a project that imports the app."""
    module = sys.modules.get("celery.bin.celery")
    return module is not None and command is module.celery


class RefusedCommand(click.ClickException):
    """A refusal of the platform, as Click shows it."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code  # type: ignore[misc]  # Click reads it from the instance

    def show(self, file: Any = None) -> None:
        click.secho(f"error: {self.message}", fg="red", err=True)


@contextmanager
def _refusals_shown(app: Any) -> Iterator[None]:
    try:
        yield
    except CeleriacError as exc:
        from celeriac.cli.refusals import refusal_of  # imports the database layer, which is slow

        refusal = refusal_of(exc, app)
        if refusal is None:
            raise
        raise RefusedCommand(refusal.sentence, refusal.code) from None
