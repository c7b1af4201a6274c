"""The tables of the demonstration: jobs by state and queue while they run, and the counts at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from celeriac.cli.output import STYLES
from celeriac.display import duration_text
from celeriac.ledger.reads.job_rows import DaySummary, Line
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.priorities import QUEUES


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many jobs of the load are in which state."""

    counts: Counter[tuple[str, JobState]]  # by queue and state
    wanted: int  # jobs, when all are enqueued
    seconds: float  # since the first

    @classmethod
    def of(cls, counts: Sequence[tuple[str, JobState, int]], *, wanted: int, seconds: float) -> Tally:
        counted = Counter({(queue, state): count for queue, state, count in counts})
        return cls(counts=counted, wanted=wanted, seconds=seconds)

    @property
    def done(self) -> int:
        return sum(count for (_, state), count in self.counts.items() if state in TERMINAL)

    def of_state(self, state: JobState) -> int:
        return sum(count for (_, found), count in self.counts.items() if found is state)


def live(tally: Tally) -> RenderableType:
    """Jobs by queue and state, with a bar: for a terminal that is redrawn."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, min_width=70)
    table.add_column("queue")
    for state, style in STYLES.items():
        table.add_column(state, justify="right", style=style)
    for queue in QUEUES:
        table.add_row(queue, *(_count(tally.counts[queue, state]) for state in STYLES))
    table.add_section()
    table.add_row("all", *(_count(tally.of_state(state)) for state in STYLES))
    bar = ProgressBar(total=tally.wanted, completed=tally.done, width=70)
    end_of_bar = Text()  # the bar does not end its line; without this the next text begins in it
    return Group(
        table, bar, end_of_bar, f"{tally.done:,} of {tally.wanted:,} jobs done after {tally.seconds:.1f} s"
    )


def plain(tally: Tally) -> str:
    """The same as one line, for a log."""
    states = ", ".join(f"{count} {state}" for state in STYLES if (count := tally.of_state(state)))
    return f"{tally.seconds:5.1f} s  {tally.done} of {tally.wanted} done: {states or 'nothing yet'}"


def numbers(summary: DaySummary) -> Table:
    """The finished load: jobs by task and state, how long they waited and ran."""
    # Narrow, because there are only 80 columns where there is no terminal.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for name in ("\ntask", "\nstate"):
        table.add_column(name, no_wrap=True)
    for name in ("\njobs", "\nretried", "wait\np50", "wait\np99", "run\np50", "run\np99"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in summary.lines:
        style = STYLES[line.state] if line.state is not None else ""
        table.add_row(line.task, Text(str(line.state), style), *_figures(line))
    table.add_section()
    table.add_row("all", "", *_figures(summary.whole))
    return table


def sentence(summary: DaySummary) -> str:
    """The counts in words."""
    ended = Counter[JobState | None]()
    for line in summary.lines:
        ended[line.state] += line.jobs
    return (
        f"{summary.whole.jobs} jobs: {ended[JobState.COMPLETED]} completed, {summary.whole.retried} retried, "
        f"{ended[JobState.FAILED]} failed"
    )


def _figures(line: Line) -> list[str]:
    spans = (line.wait_p50, line.wait_p99, line.run_p50, line.run_p99)
    return [_count(line.jobs), _count(line.retried), *map(duration_text, spans)]


def _count(number: int) -> str:
    return f"{number:,}" if number else "·"
