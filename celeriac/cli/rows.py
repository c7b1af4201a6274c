"""Print rows for people: a table if the terminal is wide enough, else a paragraph for each row.

So a narrow terminal loses no column. In a pipe or a file, each row is one line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from celeriac.cli import output

_GAP = 2  # characters between two columns
_FOLDED, _NOTED = 20, 24  # the least characters of a folding column, and of the note
_INDENT = "  "
_NOTHING = frozenset({"", "–", "·"})  # values that a paragraph leaves out

Cell = str | Text


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
        self._rows: list[list[Text]] = []
        self._sections: set[int] = set()

    def add(self, *cells: Cell) -> None:
        self._rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    def section(self) -> None:
        """Begin a new section: a line separates it from the rows before."""
        self._sections.add(len(self._rows))

    def print(self, console: Console) -> None:
        redirected = not console.is_terminal and "COLUMNS" not in os.environ
        widths = self._widths()
        needed = sum(self._least(widths)) + _GAP * (len(widths) - 1)
        if redirected:
            console.width = max(console.width, sum(widths) + _GAP * len(widths))
        elif needed > console.width:
            self._print_paragraphs(console)
            return
        console.print(self._table(widths, console.width))

    def _widths(self) -> list[int]:
        columns = zip(*([Text(name) for name in self._columns], *self._rows), strict=True)
        return [max(cell_len(cell.plain) for cell in column) for column in columns]

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
            made.add_row(*row)
        return made

    def _print_paragraphs(self, console: Console) -> None:
        for row in self._rows:
            head = self._head
            while head > 1 and _length(row[:head]) > console.width:
                head -= 1
            console.print(Text(_INDENT).join(row[:head]), soft_wrap=True)
            rest = list(zip(self._columns, row, strict=True))[head:]
            note = rest.pop()[1] if self._note else Text()
            for line in _name_value_pairs(rest).wrap(console, console.width - len(_INDENT)):
                line.rstrip()
                console.print(Text(_INDENT) + line, soft_wrap=True)
            if note.plain not in _NOTHING:
                note.truncate(console.width - len(_INDENT), overflow="ellipsis")
                console.print(Text(_INDENT) + note, soft_wrap=True)


def _length(cells: Sequence[Text]) -> int:
    return sum(cell_len(cell.plain) for cell in cells) + _GAP * (len(cells) - 1)


def _name_value_pairs(cells: Sequence[tuple[str, Text]]) -> Text:
    """``name value, name value``."""
    parts = [Text.assemble((f"{name} ", "dim"), cell) for name, cell in cells if cell.plain not in _NOTHING]
    return Text(", ").join(parts) if parts else Text()
