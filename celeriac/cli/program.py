"""``celeriac``: our own commands without Celery's command line, which imports every plug-in for each of them.

It takes the options of ``celery`` and means the same. Whatever is no command of ours (``worker``, ``beat``,
``flower``, ``inspect``, a plug-in, ``--help``) goes to Celery's command line, as it was typed.
"""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from celeriac import __version__
from celeriac.cli import entry

#: What Celery's options put into the environment, where Celery looks for it when it makes an app.
_VARIABLES = {
    "loader": "CELERY_LOADER",
    "broker": "CELERY_BROKER_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
    "config": "CELERY_CONFIG_MODULE",
}


def main() -> NoReturn:
    """The console script."""
    program.main(auto_envvar_prefix="CELERY")
    raise AssertionError("click ends the process")


class Program(click.Group):
    """Our commands; Celery's command line takes every other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _commands().get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _commands():
            _hand_over()
        if args[0] not in entry.SERVERS:
            entry.ends_soon()  # before the app is imported
        return super().resolve_command(ctx, args)


@dataclass(frozen=True)
class CommandContext:
    """What our commands ask of Celery's context: the app, and how to print."""

    app: Any
    no_color: bool
    workdir: Path | None
    quiet: bool

    def echo(self, message: Any = None, **options: Any) -> None:
        if self.no_color:
            options["color"] = False
        click.echo(message, **options)


def _hand_over(*_: Any) -> NoReturn:
    """Run Celery's command line with what was typed."""
    from celery.__main__ import main as celery

    celery()
    raise AssertionError("Celery ends the process")


def _help(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        _hand_over()


@click.group(cls=Program, add_help_option=False, invoke_without_command=True)
@click.option("-A", "--app", envvar="APP")
@click.option("-b", "--broker", envvar="BROKER_URL")
@click.option("--result-backend", envvar="RESULT_BACKEND")
@click.option("--loader", envvar="LOADER")
@click.option("--config", envvar="CONFIG_MODULE")
@click.option(
    "--workdir",
    type=Path,
    is_eager=True,
    callback=lambda _, __, place: os.chdir(place) if place else None,
)
@click.option("-C", "--no-color", envvar="NO_COLOR", is_flag=True)
@click.option("-q", "--quiet", is_flag=True)
@click.option("--skip-checks", envvar="SKIP_CHECKS", is_flag=True)
@click.option("--help", is_flag=True, is_eager=True, expose_value=False, callback=_help)
@click.version_option(__version__, message="celeriac %(version)s")
@click.pass_context
def program(
    ctx: click.Context, /, app: str | None, no_color: bool, quiet: bool, skip_checks: bool, **options: Any
) -> None:
    if ctx.invoked_subcommand is None:
        _hand_over()
    for name, variable in _VARIABLES.items():
        if options[name]:
            os.environ[variable] = options[name]
    if skip_checks:
        os.environ["CELERY_SKIP_CHECKS"] = "true"
    found = _find(ctx, app) if app else _current()
    ctx.obj = CommandContext(app=found, no_color=no_color, workdir=options["workdir"], quiet=quiet)


def _commands() -> dict[str, click.Command]:
    made = (getattr(entry, name) for name in entry.__all__ if name != "flower")
    return {str(command.name): command for command in made}


def _find(ctx: click.Context, name: str) -> Any:
    from celery.app.utils import find_app

    try:
        return find_app(name)
    except ModuleNotFoundError as exc:
        if exc.name == name:
            ctx.fail(f"there is no module {name!r}")
        ctx.fail(f"the app {name!r} cannot be imported:\n{traceback.format_exc()}")
    except AttributeError as exc:
        ctx.fail(f"there is no app in {name!r}: {exc}")
    except Exception:  # of the project's own code, whatever it is; the trace says where
        ctx.fail(f"the app {name!r} cannot be imported:\n{traceback.format_exc()}")


def _current() -> Any:
    from celery import current_app

    return current_app._get_current_object()
