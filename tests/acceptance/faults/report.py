"""What the drills of a run came to: one line each, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Line:
    """One drill.

    Attributes:
        jobs: accepted.
        lost: accepted and never done.
        doubled: done or begun again without a right to it.
        again: begun again because the worker or child that ran them died or froze in the middle.
        recovery: seconds from the end of the fault until the last job accepted before it had run;
            None when that was not reached.
        resumed: seconds from the end of the fault until a job began.
        wrong: what else is amiss, as sentences.
    """

    fault: str
    jobs: int
    lost: int
    doubled: int
    again: int
    recovery: float | None
    resumed: float | None
    wrong: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        return (
            self.fault,
            str(self.jobs),
            str(self.lost),
            str(self.doubled),
            str(self.again),
            _seconds(self.recovery),
            _seconds(self.resumed),
            "; ".join(self.wrong),
        )


HEADINGS = ("fault", "jobs", "lost", "doubled", "again", "recovery s", "resumed s", "amiss")


def table(lines: Sequence[Line]) -> list[str]:
    """The lines of a Markdown table."""
    cells = [line.cells for line in lines]
    widths = [max(len(row[column]) for row in (HEADINGS, *cells)) for column in range(len(HEADINGS))]
    rule = tuple("-" * width for width in widths)
    return [_row(row, widths) for row in (HEADINGS, rule, *cells)]


def write(lines: Sequence[Line], path: str | Path) -> None:
    Path(path).write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n")


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if column in (0, len(widths) - 1) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
