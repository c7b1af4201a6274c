"""What the operator's commands share: their options, and how they print an error.

Exit codes: 0 done; 1 nothing was found, or the request was refused; 2 the command line is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # which cannot be subscripted before click 8.4

Function = TypeVar("Function", bound=Callable[..., Any])

_STATES = ("pending", "running", "completed", "error", "failed", "cancelled")
_DIGITS = 3  # of the highest priority
_SORTS = ("newest", "oldest", "due", "longest", "finished")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Command(click.Command):
    """A command that prints our errors as one sentence with the next step, not as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as exc:  # refusal_of decides: an error of ours is printed, any other is raised again
            from celeriac.operate.presentation.refusals import refusal_of

            refusal = refusal_of(exc, ctx.obj.app)
            if refusal is None:
                raise
            click.secho(f"error: {refusal.sentence}", fg="red", err=True)
            ctx.exit(refusal.code)


class Group(Command, click.Group):
    """The same for a command that has commands below it and does something by itself."""


class Moment(ParamType):
    """An ISO 8601 moment, or a span before now."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from celeriac.operate.listing import parse_moment

        try:
            return parse_moment(value)
        except (ValueError, OverflowError):
            self.fail(f"wanted 90s, 15m, 2h, 3d or an ISO 8601 moment, found {value!r}", param, ctx)


class Seconds(ParamType):
    """Seconds, as a number or with a unit."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, float):
            return value
        number, unit = (value[:-1], value[-1]) if value[-1:] in _UNITS else (value, "s")
        try:
            return float(number) * _UNITS[unit]
        except ValueError:
            self.fail(f"wanted seconds such as 90, or 90s, 5m, 2h, 1d, found {value[:80]!r}", param, ctx)


class Level(ParamType):
    """A priority, by its name or its number."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from celeriac.errors import BadArgument
        from celeriac.priorities import parse

        number = isinstance(value, str) and value.isdecimal() and len(value) <= _DIGITS
        try:
            return parse(int(value) if number else value)
        except BadArgument as exc:
            self.fail(exc.args[1], param, ctx)


class Json(ParamType):
    """A value as JSON."""

    name = "json"

    def __init__(self, kind: type | None = None) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        import json

        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as exc:
            self.fail(f"no JSON: {exc}; a text needs its quotes: '\"like this\"'", param, ctx)
        if self._kind is not None and not isinstance(found, self._kind):
            self.fail(f"wanted a JSON {_KINDS[self._kind]}, found {value!r}", param, ctx)
        return found


_KINDS: dict[type, str] = {list: "array, as [1, 2]", dict: 'object, as {"key": 1}'}

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
reason = click.option("--reason", metavar="TEXT", help="Why: kept, and shown to whoever asks.")
yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
reason = click.option("--reason", metavar="TEXT", help="Why, for `celery -A app audit`.")
canary = click.option(
    "--canary", is_flag=True, help="Five first; the rest only while 95 % of those that ended lately succeed."
)
dry_run = click.option("-n", "--dry-run", is_flag=True, help="Only count.")

_FILTERS = (
    click.option("--state", type=click.Choice(_STATES), help="Only jobs in this state."),
    click.option("--task", metavar="NAME", help="Only jobs of this task."),
    click.option("--queue", metavar="NAME", help="Only jobs of this queue."),
    click.option("--user", metavar="ID", help="Only jobs for this user."),
    click.option("--schedule", metavar="NAME", help="Only jobs that this schedule fired."),
    click.option("--error", metavar="TEXT", help="Only jobs whose last failure contains it, in any case."),
    click.option("--worker", metavar="NAME", help="Only jobs that this worker or machine runs, or had last."),
    click.option(
        "--version", metavar="TEXT", help="Only of workers of this version, your code's or Celeriac's."
    ),
    click.option("--since", type=Moment(), help="Accepted at or after: 2h, 3d, or ISO 8601."),
    click.option("--until", type=Moment(), help="Accepted before."),
    click.option("--finished-since", type=Moment(), help="Ended at or after."),
    click.option("--finished-until", type=Moment(), help="Ended before."),
    click.option(
        "--argument", metavar="TEXT", help="Only jobs whose shown arguments contain it, in any case."
    ),
    click.option("--id-prefix", metavar="ID", help="Only jobs whose id begins so."),
)


def filters(function: Function) -> Function:
    """Add the options that select jobs; ``filter_of`` reads them."""
    for option in reversed(_FILTERS):
        function = option(function)
    return function


def filter_of(options: dict[str, Any]) -> Any:
    """The filter for the options that ``filters`` added. Removes them from ``options``."""
    from celeriac.operate.presentation.filter_words import WORDS, filter_of

    return filter_of({word: options.pop(word.replace("-", "_")) for word in WORDS})


def text(option: str, value: str | None) -> str | None:
    """``value``, checked: a database must be able to compare with it.

    Raises:
        BadArgument: it is empty, too long, or no UTF-8.
    """
    from celeriac.names import NAME_LENGTH, check_text

    return None if value is None else check_text(f"--{option}", value, length=NAME_LENGTH)


sort = click.option(
    "--sort",
    type=click.Choice(_SORTS),
    default="newest",
    show_default=True,
    help="due: of those that wait; longest: of those that run; finished: of those that ended.",
)


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless ``yes``. Any other answer than yes ends the command with status 1."""
    if not yes:
        click.confirm(question, abort=True, err=True)
