"""``schedules`` as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

import click

from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.rows import Rows
from celeriac.display import safe, stamp
from celeriac.operate.history.skips import Skipped
from celeriac.operate.presentation.shapes import schedule_shape, schedule_state
from celeriac.schedules import Schedule


def show_all(ctx: click.Context, app: Celeriac, *, as_json: bool) -> None:
    found = schedules.list_all(app=app)
    if as_json:
        output.emit("schedules list", schedules=[schedule_shape(each) for each in found])
    elif found:
        columns = ("name", "state", "task", "when", "next run", "last run", "runs")
        rows = Rows(*columns, right=["runs"], fold=["when"], head=2)
        for each in found:
            cells = (each.task, each.description, stamp(each.next_run), stamp(each.last_run))
            told = map(output.cell, cells)
            rows.add(output.cell(each.name), schedule_state(each), *told, output.number(each.run_count))
        rows.print(ctx)
    else:
        output.note(ctx, "there are no schedules: see `celery -A app schedules add --help`")
    if not found:
        ctx.exit(1)


def show_one(
    ctx: click.Context, found: Schedule, *, as_json: bool, skips: Sequence[Skipped] | None = None
) -> None:
    """
    Args:
        skips: the due times that it passed over; None: nobody asks for them.
    """
    values = schedule_shape(found)
    if as_json:
        more = {} if skips is None else {"skips": skips}
        output.emit("schedules show", schedule=values, **more)
        return
    first = {name: values.pop(name) for name in ("name", "state", "description")}
    for name, value in (first | values).items():
        text = stamp(value) if isinstance(value, datetime) else value
        if isinstance(value, dict | list):
            text = json.dumps(output.plain(value))
        click.echo(f"{name:<16}  {'–' if text is None else safe(text)}")
    for each in skips or ():
        until = f" to {stamp(each.last)}" if each.last != each.first else ""
        click.echo(f"{'passed over':<16}  {stamp(each.first)}{until}: {safe(each.reason)}")


def show_next(name: str, runs: Sequence[datetime], *, as_json: bool) -> None:
    if as_json:
        output.emit("schedules next", name=name, runs=list(runs))
    elif runs:
        click.echo("\n".join(map(stamp, runs)))
    else:
        click.echo(f"{safe(name)} has no due time to come")


def show_run(name: str, job: str, *, as_json: bool) -> None:
    if as_json:
        output.emit("schedules run-now", name=name, id=job)
    else:
        click.echo(job)


def show_change(
    command: str, name: str, what: str, *, as_json: bool, schedule: Schedule | None = None
) -> None:
    """Print what was done to a schedule. As JSON: the schedule as it is now; its name when it is removed."""
    if not as_json:
        click.echo(f"{safe(name)} {what}")
    elif schedule is None:
        output.emit(command, name=name)
    else:
        output.emit(command, schedule=schedule_shape(schedule))
