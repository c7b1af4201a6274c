"""``jobs list`` as a table and as JSON."""

from __future__ import annotations

from datetime import datetime

import click
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from app.application import Celeriac
from app.cli import output
from app.display import ago
from app.listing import Filter, Listed, Page, Sort, page

#: Columns that a terminal needs to have for all of a job.
_WIDE = 130

_NARROW = ("id", "state", "task", "accepted", "tries")
_BESIDE = ("queue", "user", "note")
_GIVE_WAY = frozenset({"task", "note"})  # where there is not room for all
_ID = 36  # characters of an id, which is there to be copied


def show(
    ctx: click.Context,
    app: Celeriac,
    wanted: Filter,
    *,
    sort: str,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    found = page(wanted, sort=Sort(sort), limit=limit, after=after, app=app)
    if as_json:
        output.emit("jobs list", jobs=found.jobs, next=found.next)
    elif found.clock is not None:
        console = output.console(ctx)
        console.print(jobs_table(found, found.clock, wide=console.width >= _WIDE))
    if not as_json:
        _say_the_rest(ctx, found)
    ctx.exit(0 if found.jobs else 1)


def jobs_table(found: Page, clock: datetime, *, wide: bool) -> Table:
    """The jobs of a page; a narrow terminal gets the columns that tell them apart."""
    columns = [*_NARROW, *(_BESIDE if wide else ())]
    made = output.table(*columns, right=["tries"])
    rows = [_cells(job, clock)[: len(columns)] for job in found.jobs]
    for row in rows:
        made.add_row(*row)
    for index, name in enumerate(columns):
        if name not in _GIVE_WAY:  # or a long note would push the others out
            widest = max(cell_len(str(row[index])) for row in rows)
            made.columns[index].min_width = min(max(widest, len(name)), _ID)
    return made


def _cells(job: Listed, clock: datetime) -> list[Text | str]:
    return [
        job.id,
        output.state(job.state),
        output.cell(job.task),
        ago(job.queued, clock, units=1),
        f"{job.try_count}/{_tries(job.max_tries)}",
        output.cell(job.queue),
        output.cell(job.user_id),
        output.cell(_remark(job, clock)),
    ]


def _remark(job: Listed, clock: datetime) -> str:
    if job.cancel_requested:
        return f"cancel requested ({job.cancel_requested})"
    if job.state == "running":
        return f"began {ago(job.started, clock)}"
    due = f"due {ago(job.next_attempt_after, clock)}" if job.next_attempt_after.year < 9000 else "parked"
    waits = due if job.finished is None and job.next_attempt_after > clock else ""
    return "; ".join(filter(None, [waits, job.error])) or ""


def _tries(count: int) -> str:
    return "∞" if count >= 2**31 - 1 else str(count)


def _say_the_rest(ctx: click.Context, found: Page) -> None:
    if not found.jobs:
        output.say(ctx, "no job fits")
    elif found.next:
        output.say(ctx, f"there are more: --after {found.next}")
