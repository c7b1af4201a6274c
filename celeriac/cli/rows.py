"""Print rows for people: a table if the terminal is wide enough, else a paragraph for each row.

So a narrow terminal loses no column. In a pipe or a file, each row is one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from celeriac.cli import output
from celeriac.cli.output import Cell, Styled

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_GAP = 2  # characters between two columns
_FOLDED, _NOTED = 20, 24  # the least characters of a folding column, and of the note
_INDENT = "  "
_NOTHING = frozenset({"", "–", "·"})  # values that a paragraph leaves out

#: With one of these in the environment, rich may find a terminal, or a width, where Python finds none.
_ASKS_FOR_RICH = ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE")


def cell_len(text: str) -> int:
    """How many places of a terminal's line ``text`` takes, as rich has it."""
    if (text.isascii() and text.isprintable()) or text in _NOTHING:
        return len(text)
    from rich.cells import cell_len as measured  # with a table of all characters

    return measured(text)


class Rows:
    """Rows under headings.

    Args:
        right: columns of numbers.
        fold: columns whose cells may take more than one line.
        head: how many columns begin a paragraph, without their names.
        note: the last column, whose text is cut to what is left.
    """

    def __init__(
        self,
        *columns: str,
        right: Sequence[str] = (),
        fold: Sequence[str] = (),
        head: int = 1,
        note: bool = False,
    ) -> None:
        self._columns = columns
        self._right, self._fold = right, fold
        self._head = head
        self._note = note
        self._rows: list[list[Styled]] = []
        self._sections: set[int] = set()

    def add(self, *cells: Cell) -> None:
        self._rows.append([Styled(cell, "") if isinstance(cell, str) else cell for cell in cells])

    def section(self) -> None:
        """Begin a new section: a line separates it from the rows before."""
        self._sections.add(len(self._rows))

    def print(self, ctx: click.Context) -> None:
        if _is_read_by_a_program():
            for line in self.lines():
                click.echo(line)
            return
        console = output.console(ctx)
        redirected = not console.is_terminal and "COLUMNS" not in os.environ
        widths = self._widths()
        needed = sum(self._least(widths)) + _GAP * (len(widths) - 1)
        if redirected:
            console.width = max(console.width, sum(widths) + _GAP * len(widths))
        elif needed > console.width:
            self._print_paragraphs(console)
            return
        console.print(self._table(widths, console.width))

    def lines(self) -> Iterator[str]:
        """The table as text without a width: the lines that rich prints where there is no terminal."""
        widths = self._widths()
        total = sum(widths) + _GAP * (len(widths) - 1)
        yield self._line(self._columns, widths)
        yield "─" * total
        for number, row in enumerate(self._rows):
            if number in self._sections:
                yield " " * total
            yield self._line([cell.text for cell in row], widths)

    def _line(self, texts: Sequence[str], widths: Sequence[int]) -> str:
        cells = []
        for name, text, width in zip(self._columns, texts, widths, strict=True):
            rest = " " * (width - cell_len(text))
            cells.append(rest + text if name in self._right else text + rest)
        return (" " * _GAP).join(cells)

    def _widths(self) -> list[int]:
        columns = zip(self._columns, *([cell.text for cell in row] for row in self._rows), strict=True)
        return [max(map(cell_len, column)) for column in columns]

    def _least(self, widths: Sequence[int]) -> list[int]:
        least = [
            min(width, _FOLDED) if name in self._fold else width
            for name, width in zip(self._columns, widths, strict=True)
        ]
        return [*least[:-1], min(least[-1], _NOTED)] if self._note else least

    def _table(self, widths: Sequence[int], width: int) -> Table:
        made = output.table(*self._columns, right=self._right, fold=self._fold)
        for column, least in zip(made.columns, self._least(widths), strict=True):
            column.min_width = least
        if self._note:
            others = sum(widths[:-1]) + _GAP * (len(widths) - 1)
            made.columns[-1].max_width = max(width - others, min(widths[-1], _NOTED))
        for number, row in enumerate(self._rows):
            if number in self._sections:
                made.add_section()
            made.add_row(*map(_text, row))
        return made

    def _print_paragraphs(self, console: Console) -> None:
        for row in self._rows:
            head = self._head
            while head > 1 and _length(row[:head]) > console.width:
                head -= 1
            console.print(_text(_INDENT).join(map(_text, row[:head])), soft_wrap=True)
            rest = list(zip(self._columns, row, strict=True))[head:]
            note = _text(rest.pop()[1]) if self._note else _text("")
            for line in _name_value_pairs(rest).wrap(console, console.width - len(_INDENT)):
                line.rstrip()
                console.print(_text(_INDENT) + line, soft_wrap=True)
            if note.plain not in _NOTHING:
                note.truncate(console.width - len(_INDENT), overflow="ellipsis")
                console.print(_text(_INDENT) + note, soft_wrap=True)


def _is_read_by_a_program() -> bool:
    """Whether nothing but plain lines is wanted, so that rich need not be imported, which is slow."""
    stream: Any = sys.stdout
    plain = not stream.isatty() and (stream.encoding or "").lower().startswith("utf")
    return plain and not any(name in os.environ for name in _ASKS_FOR_RICH)


def _text(cell: Cell) -> Text:
    from rich.text import Text

    return Text(cell) if isinstance(cell, str) else Text(*cell)


def _length(cells: Sequence[Styled]) -> int:
    return sum(cell_len(cell.text) for cell in cells) + _GAP * (len(cells) - 1)


def _name_value_pairs(cells: Sequence[tuple[str, Styled]]) -> Text:
    """``name value, name value``."""
    parts = [
        _text(Styled(f"{name} ", "dim")) + _text(cell) for name, cell in cells if cell.text not in _NOTHING
    ]
    return _text(", ").join(parts) if parts else _text("")
