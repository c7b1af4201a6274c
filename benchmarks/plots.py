"""Draw the figures of a run: one PNG for each workload, next to the JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import Measure, Summary, summarise
from benchmarks.side_list import CELERIAC, Entry
from benchmarks.workload import Run

_COLUMNS = 2  # charts side by side, at most
_BAR = 0.32  # inches


class NoPlots(Exception):
    """There are no pictures; the sentence says why."""


def draw(run: Run, document: Path) -> Path:
    """Draw one workload next to ``document``: a chart for each measure, medians with the range of the rounds.

    Raises:
        NoPlots: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # by itself it never looks for a display
    except ImportError:
        raise NoPlots("no plots: they need matplotlib, pip install -e '.[bench]'") from None
    measures = [one for one in run.workload.measures if _found(run, one)] or run.workload.measures
    columns = min(_COLUMNS, len(measures))
    rows = -(-len(measures) // columns)
    size = (6.4 * columns, (1.1 + _BAR * len(run.sides)) * rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"{run.workload.name}: {run.jobs:,} jobs, rounds: {len(run.rounds)}")
    for axes, measure in zip(figure.subplots(rows, columns, squeeze=False).flat, measures, strict=False):
        _chart(axes, run, measure)
    for axes in figure.axes[len(measures) :]:
        axes.set_visible(False)
    path = document.with_name(f"{document.stem}-{run.workload.name}.png")
    figure.savefig(path, dpi=120)
    return path


def _chart(axes: Any, run: Run, measure: Measure) -> None:
    """Bars from the first side down; a side without a figure has no bar."""
    found = _found(run, measure)
    medians = [summary.median for _, summary in found]
    ranges = [[one.median - one.low for _, one in found], [one.high - one.median for _, one in found]]
    colours = ["tab:green" if entry == CELERIAC else "tab:gray" for entry, _ in found]
    bars = axes.barh([entry.title for entry, _ in found], medians, color=colours, xerr=ranges, capsize=2)
    axes.bar_label(bars, [f"{value:,.{measure.digits}f}" for value in medians], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(measure.label)


def _found(run: Run, measure: Measure) -> list[tuple[Entry, Summary]]:
    summaries = [(entry, summarise(run.rounds, entry.name, measure.key)) for entry in run.sides]
    return [(entry, summary) for entry, summary in summaries if summary is not None]
