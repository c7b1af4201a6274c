"""How commands print: tables for people, one JSON object for machines. All text passes ``display.safe``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from celeriac.display import safe
from celeriac.ledger.schema.lifecycle import JobState

#: The colour of each state.
STYLES = {
    JobState.PENDING: "cyan",
    JobState.RUNNING: "yellow",
    JobState.ERROR: "magenta",
    JobState.COMPLETED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "dim",
}

#: The version of every JSON shape; raised when a field goes or changes its meaning, not when one comes.
VERSION = 1

#: Columns of a row where nobody looks: one job is one line for those who read on.
_REDIRECTED_WIDTH = 200


def console(ctx: click.Context) -> Console:
    """Where tables go: as wide as the terminal, or wide enough."""
    found = Console(no_color=bool(ctx.obj.no_color) or None, highlight=False, emoji=False, markup=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = _REDIRECTED_WIDTH
    return found


def emit(command: str, **values: Any) -> None:
    """One JSON object: which shape it has, then what it says."""
    click.echo(json.dumps({"version": VERSION, "command": command, **plain(values)}, indent=2))


def plain(value: Any) -> Any:
    """``value`` as JSON has it: moments are ISO 8601 in UTC, spans seconds, what else there is is text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def table(*columns: str, right: Sequence[str] = (), fold: Sequence[str] = ()) -> Table:
    """An empty table. Numbers to the right; only what may fold takes more than one line.

    >>> table("queue", "due", right=["due"]).columns[1].justify
    'right'
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for name in columns:
        justify: Any = "right" if name in right else "left"
        overflow: Any = "fold" if name in fold else "ellipsis"
        made.add_column(name, justify=justify, no_wrap=name not in fold, overflow=overflow)
    return made


def cell(value: object, *, length: int | None = None) -> Text:
    """Text of a table's cell: safe, and no markup whatever is in it.

    >>> cell("[red]x\\n").plain
    '[red]x\\\\n'
    """
    return Text("–" if value is None else safe(value, length=length))


def state(value: JobState | str) -> Text:
    return Text(str(value), STYLES[JobState(value)])


def number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}" if value else "·"


def note(ctx: click.Context, text: str) -> None:
    """A sentence for people, where it does not get in the way of what is read on."""
    ctx.obj.echo(safe(text), err=True)
