"""Print tables for people and JSON for machines. All text passes ``display.safe``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import click

from celeriac.display import safe
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.presentation.shapes import VERSION, document, plain

if TYPE_CHECKING:  # rich is slow to import, and a program that reads what is printed has no use for it
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "STYLES",
    "VERSION",
    "Cell",
    "Styled",
    "cell",
    "console",
    "emit",
    "note",
    "number",
    "plain",
    "state",
    "table",
]


class Styled(NamedTuple):
    """A text with a style of rich's, for terminals."""

    text: str
    style: str


#: The content of a cell of a table.
Cell: TypeAlias = str | Styled

#: The colour of each state.
STYLES = {
    JobState.PENDING: "cyan",
    JobState.RUNNING: "yellow",
    JobState.ERROR: "magenta",
    JobState.COMPLETED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "dim",
}

#: The width where the output is no terminal, so that a program finds each row on one line.
_REDIRECTED_WIDTH = 200


def console(ctx: click.Context) -> Console:
    """The console for tables: as wide as the terminal, or 200 columns without one."""
    from rich.console import Console

    found = Console(no_color=bool(ctx.obj.no_color) or None, highlight=False, emoji=False, markup=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = _REDIRECTED_WIDTH
    return found


def emit(command: str, **values: Any) -> None:
    """Print one JSON object: version and command, then the values."""
    click.echo(json.dumps(document(command, **values), indent=2))


def table(*columns: str, right: Sequence[str] = (), fold: Sequence[str] = ()) -> Table:
    """An empty table. ``right``: columns aligned right. ``fold``: columns that may take several lines.

    >>> table("queue", "due", right=["due"]).columns[1].justify
    'right'
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for name in columns:
        justify: Any = "right" if name in right else "left"
        overflow: Any = "fold" if name in fold else "ellipsis"
        made.add_column(name, justify=justify, no_wrap=name not in fold, overflow=overflow)
    return made


def cell(value: object, *, length: int | None = None) -> str:
    """The text of a table cell. Control characters are escaped.

    >>> cell("[red]x\\n")
    '[red]x\\\\n'
    """
    return "–" if value is None else safe(value, length=length)


def state(value: JobState | str) -> Styled:
    return Styled(str(value), STYLES[JobState(value)])


def number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}" if value else "·"


def note(ctx: click.Context, text: str) -> None:
    """Print a sentence for people on the standard error, so that programs do not read it as data."""
    ctx.obj.echo(safe(text), err=True)
