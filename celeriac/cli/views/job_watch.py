"""``jobs watch``: how many jobs wait, run and end, again and again."""

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
            for seen in _looks(app, interval, times):
                click.echo(_as_json(seen) if as_json else line(seen))
            return
        with Live(console=console, auto_refresh=False) as live:
            for seen in _looks(app, interval, times):
                live.update(board(seen), refresh=True)


def line(seen: JobCounts) -> str:
    """One look, for a log."""
    return (
        f"{stamp(seen.clock)}  {seen.due:,} due, {seen.later:,} later, {seen.running:,} running, "
        f"{seen.retrying:,} retrying | {_rate(seen, seen.accepted)} accepted, "
        f"{_rate(seen, seen.completed)} completed, {_rate(seen, seen.failed)} failed"
    )


def board(seen: JobCounts) -> Table:
    """One look, for a terminal that is redrawn."""
    made = output.table(
        "jobs", "now", "in the last minute", "a second", right=["now", "in the last minute", "a second"]
    )
    for name, count in (
        ("due", seen.due),
        ("later", seen.later),
        ("retrying", seen.retrying),
        ("running", seen.running),
    ):
        made.add_row(name, output.number(count), "", "")
    made.add_section()
    for name in ("accepted", "completed", "failed", "cancelled"):
        count = getattr(seen, name)
        made.add_row(name, "", output.number(count), _rate(seen, count))
    made.caption = stamp(seen.clock)
    return made


def _looks(app: Celeriac, interval: float, times: int | None) -> Iterator[JobCounts]:
    done = 0
    while True:
        yield count_jobs(app=app)
        done += 1
        if done == times:
            return
        time.sleep(interval)


def _as_json(seen: JobCounts) -> str:
    return json.dumps({"version": output.VERSION, "command": "jobs watch", "seen": output.plain(seen)})


def _rate(seen: JobCounts, count: int) -> str:
    return f"{count / seen.within.total_seconds():,.1f}/s"
