"""Make Celery's own commands know the burst pool and its option, and show our refusals as a sentence."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click
from celery import concurrency
from click.core import ParameterSource

from celeriac.errors import CeleriacError, SettingsError


def prepare(app: Any) -> None:
    """Do all of this for the command that is being called. Called when the app is made."""
    _offer_burst()
    _offer_async_concurrency(app)
    show_refusals(app)


def show_refusals(app: Any) -> None:
    """Make the Celery command that is being called print our refusals as our own commands do.

    Call it when the app is made. Celery's command line has its context by then.
    """
    context = click.get_current_context(silent=True)
    if context is None or not _is_celerys(context.command):
        return
    context.with_resource(_ShownRefusals(app))
    if context.invoked_subcommand == "flower" and find_spec("flower") is not None:
        from celeriac.cli import flower_api  # Flower and tornado are slow to import

        flower_api.install()


if TYPE_CHECKING:
    Choice = click.Choice[Any]
else:
    Choice = click.Choice  # not generic before click 8.2

_BURST = "burst"


def _offer_burst() -> None:
    """Let ``worker_pool = "burst"`` and ``-P burst`` name the burst pool.

    Celery's command line has read the names of pools by now, and takes no other for ``-P``.
    """
    concurrency.ALIASES.setdefault(_BURST, "celeriac.worker.prefork.burst:TaskPool")
    command = getattr(sys.modules.get("celery.bin.worker"), "worker", None)
    for option in getattr(command, "params", ()):
        if "--pool" in option.opts and not isinstance(option.type, _Pools):
            option.type = _Pools(option.type)


def _offer_async_concurrency(app: Any) -> None:
    """Let ``celery worker`` take ``--async-concurrency``, by Celery's own way for options of a user's."""
    base = sys.modules.get("celery.bin.base")
    if base is not None:  # else this is no command line, and click's options are not needed
        option = base.CeleryOption(
            ["--async-concurrency"],
            type=click.IntRange(0, 10_000),
            help_group="Pool Options",
            help="Coroutines that run at a time in each child of the burst pool.  "
            "0: as jobs of any other task.  Default: CELERIAC_ASYNC_CONCURRENCY.",
        )
        app.user_options["worker"].add(option)


class _Pools(Choice):
    """The type of ``-P``: Celery's, with the burst pool.

    Celery takes ``-P prefork`` for its default, in whose place it puts ``worker_pool``.
    """

    name = "pool"

    def __init__(self, theirs: Any) -> None:
        super().__init__((*theirs.choices, _BURST))
        self._theirs = theirs
        theirs.choices = self.choices

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "prefork" and ctx.obj.app.conf.worker_pool == _BURST and _is_said(param, ctx):
            return concurrency.get_implementation(value)
        return self._theirs.convert(value, param, ctx)


def _is_said(option: click.Parameter, context: click.Context) -> bool:
    """Whether the command line or the environment names the option."""
    source = context.get_parameter_source(str(option.name))
    return source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def end(error: SettingsError) -> None:
    """End Celery's command line, if that is what reads the settings, with their problems.

    Around whatever else is raised while it imports the app, it would print a traceback.
    """
    context = click.get_current_context(silent=True)
    if context is not None and _is_celerys(context.find_root().command):
        raise SystemExit(f"celery: {error}") from None


def _is_celerys(command: click.Command) -> bool:
    """Whether it is Celery's command, or ``celeriac``, not the command of a project that imports the app."""
    places = (("celery.bin.celery", "celery"), ("celeriac.cli.program", "program"))
    return any(command is getattr(sys.modules.get(module), name, None) for module, name in places)


class RefusedCommand(click.ClickException):
    """A refusal of the platform, as Click shows it."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code  # type: ignore[misc]  # Click reads it from the instance

    def show(self, file: Any = None) -> None:
        click.secho(f"error: {self.message}", fg="red", err=True)


class _ShownRefusals:
    """Turns a refusal that passes into Click's own kind of error."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        error = error or sys.exception()  # Click before 8.2 closes its resources without naming it
        if not isinstance(error, CeleriacError):
            return
        if isinstance(error, SettingsError):  # of what was written to ``app.conf`` later
            raise SystemExit(f"celery: {error}") from None
        from celeriac.operate.presentation.refusals import (
            refusal_of,  # imports the database layer, which is slow
        )

        refusal = refusal_of(error, self._app)
        if refusal is not None:
            raise RefusedCommand(refusal.sentence, refusal.code) from None
