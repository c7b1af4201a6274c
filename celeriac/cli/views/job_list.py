"""``jobs list`` as rows and as JSON."""

from __future__ import annotations

from datetime import datetime

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.output import Cell
from celeriac.cli.rows import Rows
from celeriac.display import ago
from celeriac.operate.listing import Filter, ListedJob, Page, Sort, page
from celeriac.operate.presentation.export import MOST, Export

_COLUMNS = ("id", "state", "task", "accepted", "tries", "queue", "user", "worker", "note")
_NAME = 40  # characters of a name, at most


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
        rows = Rows(*_COLUMNS, right=["tries"], head=3, note=True)
        for job in found.jobs:
            rows.add(*_cells(job, found.clock))
        rows.print(ctx)
    if not as_json:
        _note_the_rest(ctx, found)
    ctx.exit(0 if found.jobs else 1)


def show_csv(ctx: click.Context, app: Celeriac, wanted: Filter, *, sort: str) -> None:
    """Print all that fit, a line each, while they are read."""
    export = Export(wanted, sort=Sort(sort), app=app)
    for part in export.csv():
        click.echo(part, nl=False)
    if export.cut:
        output.note(ctx, f"there are more than {MOST:,}: narrow the filter")
    ctx.exit(0 if export.written else 1)


def _cells(job: ListedJob, clock: datetime) -> list[Cell]:
    return [
        output.cell(job.task_id, length=_NAME) if job.task_id else job.id,
        output.state(job.state),
        output.cell(job.task, length=_NAME),
        ago(job.queued, clock, units=1),
        f"{job.try_count}/{_tries(job.max_tries)}",
        output.cell(job.queue, length=_NAME // 2),
        output.cell(job.user_id, length=_NAME // 2),
        output.cell(job.worker, length=_NAME // 2),
        output.cell(_remark(job, clock)),
    ]


def _remark(job: ListedJob, clock: datetime) -> str:
    if job.cancel_requested:
        return f"cancel requested ({job.cancel_requested})"
    if job.state == "running":
        return f"began {ago(job.started, clock)}"
    due = f"due {ago(job.next_attempt_after, clock)}" if job.next_attempt_after.year < 9000 else "parked"
    waits = due if job.finished is None and job.next_attempt_after > clock else ""
    return "; ".join(filter(None, [waits, job.error])) or ""


def _tries(count: int) -> str:
    return "∞" if count >= 2**31 - 1 else str(count)


def _note_the_rest(ctx: click.Context, found: Page) -> None:
    if not found.jobs:
        output.note(ctx, "no job fits")
    elif found.next:
        output.note(ctx, f"there are more: --after {found.next}")
