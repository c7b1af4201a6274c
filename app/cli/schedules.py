"""``celery -A app schedules``: what is enqueued by itself, and when."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand
from kombu.utils.json import dumps
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from app import schedules as registry
from app.arguments import represent
from app.cli.context import celeriac
from app.errors import CeleriacError
from app.schedules import CatchUp, Overlap, Schedule

if TYPE_CHECKING:
    from app.application import Celeriac

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

as_json = click.option("--json", "plain", is_flag=True, help="JSON in place of a table.")


@click.group(short_help="Schedules: list, show, add, remove, enable, disable, run-now, next.")
def schedules() -> None:
    """Look at schedules and change them. Static ones are changed in the file that they come from."""


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A sub-command whose function is given the app; a mistake of its user ends it with 1 and a sentence."""

    def register(function: Callable[..., None]) -> click.Command:
        def run(ctx: click.Context, /, **options: Any) -> None:
            try:
                function(celeriac(ctx), **options)
            except CeleriacError as exc:
                raise click.ClickException(visible(str(exc))) from None
            except SQLAlchemyError as exc:
                reason = str(getattr(exc, "orig", None) or exc).partition("\n")[0]
                raise click.ClickException(f"the ledger's database: {visible(reason)}") from None

        update_wrapper(run, function)  # with the options that are declared for it
        made: click.Command = schedules.command(name, cls=CeleryCommand)(click.pass_context(run))
        return made

    return register


@command("list")
@as_json
def list_all(app: Celeriac, plain: bool) -> None:
    """Every schedule, by name."""
    found = registry.list_all(app=app)
    if plain:
        click.echo(json.dumps([told(each) for each in found], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "task", "when", "next run", "last run", "runs", "state"):
        table.add_column(column, justify="right" if column == "runs" else "left")
    for each in found:
        cells = (each.name, each.task, each.description, _when(each.next_run), _when(each.last_run))
        table.add_row(*(Text(visible(cell)) for cell in cells), f"{each.run_count:,}", state(each))
    _print(table if found else Text("there are no schedules"))


@command("show")
@click.argument("name")
@as_json
def show(app: Celeriac, name: str, plain: bool) -> None:
    """All that is known of one schedule."""
    _show(registry.get(name, app=app), plain)


@command("add")
@click.argument("name")
@click.argument("task")
@click.option("--every", help="An interval: 90, 90s, 5m, 2h, 1d.")
@click.option("--cron", help='Five fields or @daily and the like: "0 3 * * mon-fri".')
@click.option("--at", help="One moment, ISO 8601.")
@click.option("--args", default="[]", help="Positional arguments, a JSON list.")
@click.option("--kwargs", default="{}", help="Keyword arguments, a JSON object.")
@click.option("--priority", help="low, normal, high, critical, or 0 to 100.")
@click.option("--queue")
@click.option("--user-id")
@click.option("--max-tries", type=int)
@click.option("--timeout", type=float, help="Seconds an attempt may take.")
@click.option("--expires", type=float, help="Seconds after the fire from which on the job is not begun.")
@click.option("--timezone", help="Of cron and of moments that name none: Europe/Berlin.")
@click.option("--start", help="No due time before it, ISO 8601.")
@click.option("--end", help="No due time after it, ISO 8601.")
@click.option(
    "--catch-up", type=click.Choice([*map(str, CatchUp)]), default=str(CatchUp.ONCE), show_default=True
)
@click.option("--catch-up-limit", type=int, default=100, show_default=True)
@click.option(
    "--overlap", type=click.Choice([*map(str, Overlap)]), default=str(Overlap.ALLOW), show_default=True
)
@click.option("--jitter", default="0", help="Seconds, at most, that a job waits after its due time.")
@click.option("--run-immediately", is_flag=True, help="An interval's first due time is now.")
@click.option("--disabled", is_flag=True, help="Not fired until it is enabled.")
@as_json
def add(app: Celeriac, name: str, task: str, plain: bool, disabled: bool, **options: Any) -> None:
    """Make the schedule NAME of TASK, or change it; it keeps its history."""
    options["args"] = _parsed("--args", options["args"], list)
    options["kwargs"] = _parsed("--kwargs", options["kwargs"], dict)
    options["every"] = None if options["every"] is None else _seconds("--every", options["every"])
    options["jitter"] = _seconds("--jitter", options["jitter"])
    priority = options["priority"]
    options["priority"] = int(priority) if priority is not None and priority.isdecimal() else priority
    enabled = False if disabled else None
    _show(registry.register(name, task, enabled=enabled, app=app, **options), plain)


@command("remove")
@click.argument("name")
def remove(app: Celeriac, name: str) -> None:
    """Remove a schedule; the jobs that it made stay."""
    registry.unregister(name, app=app)
    click.echo(f"{visible(name)} is removed")


@command("enable")
@click.argument("name")
def enable(app: Celeriac, name: str) -> None:
    """Let a schedule fire again, from its next due time on."""
    found = registry.enable(name, app=app)
    click.echo(f"{visible(name)} is enabled, next run {_when(found.next_run)}")


@command("disable")
@click.argument("name")
def disable(app: Celeriac, name: str) -> None:
    """Let a schedule fire no more, whatever is started, until it is enabled."""
    registry.disable(name, app=app)
    click.echo(f"{visible(name)} is disabled")


@command("run-now")
@click.argument("name")
def run_now(app: Celeriac, name: str) -> None:
    """Make a job of a schedule at once; print its id. The due times stay as they are."""
    click.echo(registry.run_now(name, app=app))


@command("next")
@click.argument("name")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True)
@as_json
def next_runs(app: Celeriac, name: str, count: int, plain: bool) -> None:
    """The next due times, in UTC."""
    runs = [due.isoformat() for due in registry.next_runs(name, count, app=app)]
    click.echo(json.dumps(runs) if plain else "\n".join(runs) or f"{visible(name)} has no due time to come")


def told(found: Schedule) -> dict[str, Any]:
    """The schedule as plain values; moments as ISO 8601. What is sensitive is hidden."""
    plain = {field.name: _told(getattr(found, field.name)) for field in fields(found)}
    hidden = {"args": represent(tuple(found.args)), "kwargs": represent(dict(found.kwargs))}
    return plain | hidden | {"description": found.description, "state": state(found)}


def state(found: Schedule) -> str:
    if found.retired is not None:
        return "retired"
    if not found.enabled:
        return "disabled"
    return "enabled" if found.next_run is not None else "over"


def visible(text: str) -> str:
    r"""``text`` with everything escaped that is not for the eye: no name draws on the terminal.

    >>> visible("a\nb\x1b[31m")
    'a\\nb\\x1b[31m'
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _told(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else json.loads(dumps(value))


def _show(found: Schedule, plain: bool) -> None:
    values = told(found)
    if plain:
        click.echo(json.dumps(values, indent=2))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in ("name", "state", "description", *(name for name in values)):
        if name in values:
            value = values.pop(name)
            text = "–" if value is None else value if isinstance(value, str) else json.dumps(value)
            table.add_row(Text(name, style="bold"), Text(visible(text)))
    _print(table)


def _print(what: Any) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000  # nothing is cut off for a program that reads it
    console.print(what)


def _when(moment: datetime | None) -> str:
    return "–" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%SZ")


def _parsed(option: str, text: str, kind: type[Sequence[Any] | dict[str, Any]]) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise click.UsageError(f"{option}: wanted JSON, found {text[:80]!r}") from None
    if not isinstance(value, kind):
        raise click.UsageError(f"{option}: wanted a JSON {'list' if kind is list else 'object'}")
    return value


def _seconds(option: str, text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        return float(number) * _UNITS[unit]
    except ValueError:
        raise click.UsageError(
            f"{option}: wanted seconds such as 90, or 90s, 5m, 2h, 1d, found {text[:80]!r}"
        ) from None
