"""``jobs list`` as a table and as JSON."""

from __future__ import annotations

from datetime import datetime

import click
from rich.table import Table
from rich.text import Text

from app.application import Celeriac
from app.cli import output
from app.display import ago
from app.listing import Filter, Listed, Page, Sort, page

#: Columns that a terminal needs to have for all of a job.
_WIDE = 130


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
    columns = ["id", "state", "task", "accepted", "tries"]
    columns[3:3] = ["queue", "user"] if wide else []
    made = output.table(*columns, *(["what next or what last"] if wide else []), right=["tries"])
    made.columns[0].min_width = 36  # an id is there to be copied
    for job in found.jobs:
        made.add_row(*_cells(job, clock, wide=wide))
    return made


def _cells(job: Listed, clock: datetime, *, wide: bool) -> list[Text | str]:
    first: list[Text | str] = [job.id, output.state(job.state), output.cell(job.task)]
    last: list[Text | str] = [ago(job.queued, clock), f"{job.try_count}/{_tries(job.max_tries)}"]
    if not wide:
        return [*first, *last]
    return [*first, output.cell(job.queue), output.cell(job.user_id), *last, output.cell(_remark(job, clock))]


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
