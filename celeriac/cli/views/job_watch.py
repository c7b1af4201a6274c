"""``jobs watch``: print how many jobs wait, run and end, at an interval."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import click
from rich.live import Live
from rich.table import Table

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.display import stamp
from celeriac.operate.overview import JobCounts, count_jobs


def watch(ctx: click.Context, app: Celeriac, *, interval: float, times: int | None, as_json: bool) -> None:
    console = output.console(ctx)
    with suppress(KeyboardInterrupt):
        if as_json or not console.is_terminal:
            for counts in _repeated_counts(app, interval, times):
                click.echo(_as_json(counts) if as_json else line(counts))
            return
        with Live(console=console, auto_refresh=False) as live:
            for counts in _repeated_counts(app, interval, times):
                live.update(board(counts), refresh=True)


def line(counts: JobCounts) -> str:
    """The counts as one line, for a log."""
    held = f"{counts.held:,} held, " if counts.held else ""
    return (
        f"{stamp(counts.clock)}  {counts.due:,} due, {counts.later:,} later, {held}"
        f"{counts.running:,} running, {counts.retrying:,} retrying | "
        f"{_rate(counts, counts.accepted)} accepted, {_rate(counts, counts.completed)} completed, "
        f"{_rate(counts, counts.failed)} failed"
    )


def board(counts: JobCounts) -> Table:
    """The counts as a table, for a terminal that is redrawn."""
    made = output.table(
        "jobs", "now", "in the last minute", "a second", right=["now", "in the last minute", "a second"]
    )
    for name, count in (
        ("due", counts.due),
        ("later", counts.later),
        ("held", counts.held),
        ("retrying", counts.retrying),
        ("running", counts.running),
    ):
        made.add_row(name, output.number(count), "", "")
    made.add_section()
    for name in ("accepted", "completed", "failed", "cancelled"):
        count = getattr(counts, name)
        made.add_row(name, "", output.number(count), _rate(counts, count))
    made.caption = stamp(counts.clock)
    return made


def _repeated_counts(app: Celeriac, interval: float, times: int | None) -> Iterator[JobCounts]:
    done = 0
    while True:
        yield count_jobs(app=app)
        done += 1
        if done == times:
            return
        time.sleep(interval)


def _as_json(counts: JobCounts) -> str:
    return json.dumps({"version": output.VERSION, "command": "jobs watch", "seen": output.plain(counts)})


def _rate(counts: JobCounts, count: int) -> str:
    return f"{count / counts.within.total_seconds():,.1f}/s"
