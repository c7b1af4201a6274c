"""Report a run: a line for each turn, a table for each workload, one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Measure, Summary, ratio, summarise
from benchmarks.side_list import Entry
from benchmarks.workload import Run, Turn

RESULTS = Path(__file__).resolve().parent / "results"


def show_facts(console: Console, facts: Mapping[str, str]) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        grid.add_row(name, fact)
    console.print(grid)


def show_turn(console: Console, run: Run, turn: Turn) -> None:
    """One line as soon as a side has had its turn."""
    figures = turn.figures or {}
    measures = run.workload.measures if turn.figures else ()
    shown = [
        f"{measure.label} {figures[measure.key]:,.{measure.digits}f}"
        for measure in measures
        if measure.key in figures
    ]
    figures_text = ", ".join(shown) or f"not measured: {turn.problem}"
    turn_of = f"{run.workload.name} {turn.number}  {turn.entry.title}"
    console.print(f"{turn_of}: {figures_text}", markup=False, highlight=False)


def show(console: Console, run: Run) -> None:
    """The table of one workload."""
    size = f"{run.jobs:,} jobs, rounds: {len(run.rounds)}"
    table = Table(title=f"{run.workload.name}: {run.workload.title}; {size}")
    table.add_column("")
    table.add_column("side", no_wrap=True)
    for heading in ("median", "min to max", f"÷ {run.workload.baseline.title}", "min to max"):
        table.add_column(heading, justify="right")
    for measure in run.workload.measures:
        sides = [entry for entry in run.sides if _expected(run, entry, measure)]
        for number, entry in enumerate(sides):
            table.add_row("" if number else measure.label, entry.title, *_spans(run, entry, measure))
        table.add_section()
    console.print(table)


def write(runs: Sequence[Run], facts: Mapping[str, str], *, begun: datetime) -> Path:
    """Every figure of every round, and what the tables make of them; replaces the file of this run."""
    path = RESULTS / f"{begun.astimezone(UTC):%Y%m%dT%H%M%SZ}.json"
    document = {
        "begun": begun.isoformat(timespec="seconds"),
        "facts": dict(facts),
        "workloads": [_plain(run) for run in runs],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return path


def _expected(run: Run, entry: Entry, measure: Measure) -> bool:
    """Whether there is a figure, or should be: not every side can do everything."""
    found = summarise(run.rounds, entry.name, measure.key) is not None
    return found or any(entry.name in one.problems for one in run.rounds)


def _spans(run: Run, entry: Entry, measure: Measure) -> list[str]:
    own = summarise(run.rounds, entry.name, measure.key)
    if own is None:
        return ["not measured", "", "", ""]
    to_baseline = _ratio(run, entry, measure)
    return [*_cells(own, measure.digits), *(_cells(to_baseline, 2) if to_baseline else ["", ""])]


def _cells(summary: Summary, digits: int) -> list[str]:
    middle, low, high = (f"{value:,.{digits}f}" for value in (summary.median, summary.low, summary.high))
    return [middle, f"{low} to {high}"]


def _ratio(run: Run, entry: Entry, measure: Measure) -> Summary | None:
    baseline = run.workload.baseline
    if not measure.compared or (entry == baseline and measure.against is None):
        return None
    return ratio(run.rounds, entry.name, measure.key, to=baseline.name, against=measure.against)


def _plain(run: Run) -> dict[str, Any]:
    summaries = {
        entry.name: {measure.key: _summary(run, entry, measure) for measure in run.workload.measures}
        for entry in run.sides
    }
    return {
        "name": run.workload.name,
        "title": run.workload.title,
        "jobs": run.jobs,
        "baseline": run.workload.baseline.name,
        "summaries": summaries,
        "rounds": [asdict(one) for one in run.rounds],
    }


def _summary(run: Run, entry: Entry, measure: Measure) -> dict[str, Any]:
    own, to_baseline = summarise(run.rounds, entry.name, measure.key), _ratio(run, entry, measure)
    return {
        "label": measure.label,
        **(asdict(own) if own else {}),
        "ratio": asdict(to_baseline) if to_baseline else None,
    }
