"""``jobs list`` as a table and as JSON."""

from __future__ import annotations

from datetime import datetime

import click
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.display import ago
from celeriac.operate.listing import Filter, Listed, Page, Sort, page

#: Columns that a terminal needs to have for all of a job.
_WIDE = 130

_NARROW = 72  # and those that it needs for more than what and where

_ALL = ("id", "state", "task", "accepted", "tries", "queue", "user", "note")
_NAME = 40  # characters of a name, at most
_GAP, _SHORTEST = 2, 8  # characters between two columns, and of the one that gives way


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
        console.print(jobs_table(found, found.clock, width=console.width))
    if not as_json:
        _say_the_rest(ctx, found)
    ctx.exit(0 if found.jobs else 1)


def jobs_table(found: Page, clock: datetime, *, width: int) -> Table:
    """The jobs of a page; a narrow terminal gets the columns that tell them apart."""
    columns = _columns(width)
    rows = [_cells(job, clock)[: len(columns)] for job in found.jobs]
    needed = [max(cell_len(str(each)) for each in column) for column in zip(columns, *rows, strict=True)]
    gives_way = columns.index("note" if "note" in columns else "task")  # or it would push the others out
    others = sum(needed) - needed[gives_way] + _GAP * (len(columns) - 1)
    made = output.table(*columns, right=["tries"])
    made.columns[gives_way].max_width = max(width - others, _SHORTEST)
    for row in rows:
        made.add_row(*row)
    return made


def _columns(width: int) -> tuple[str, ...]:
    if width < _NARROW:
        return _ALL[:3]
    return _ALL if width >= _WIDE else _ALL[:5]


def _cells(job: Listed, clock: datetime) -> list[Text | str]:
    return [
        job.id,
        output.state(job.state),
        output.cell(job.task, length=_NAME),
        ago(job.queued, clock, units=1),
        f"{job.try_count}/{_tries(job.max_tries)}",
        output.cell(job.queue, length=_NAME // 2),
        output.cell(job.user_id, length=_NAME // 2),
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
