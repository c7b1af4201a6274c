"""``dead-letters list`` and ``show``, for people and as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich.text import Text

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.rows import Rows
from celeriac.cli.views import job_details
from celeriac.display import ago, safe
from celeriac.ledger.writes.dead_letters import Group
from celeriac.operate import dead_letters
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import job
from celeriac.operate.presentation.shapes import cause_shape, group_shape, is_group_key


def show_all(ctx: click.Context, app: Celeriac, *, limit: int, as_json: bool) -> None:
    groups = dead_letters.groups(limit=limit, app=app)
    if as_json:
        output.emit("dead-letters list", groups=[group_shape(group) for group in groups])
    elif groups:
        _print(ctx, groups)
    else:
        output.note(ctx, "there is no dead letter")
    ctx.exit(0 if groups else 1)


def show_one(ctx: click.Context, app: Celeriac, key_or_id: str, *, reveal: bool, as_json: bool) -> None:
    if not is_group_key(key_or_id):
        job_details.show(ctx, app, key_or_id, reveal=reveal, as_json=as_json)
        return
    cause = dead_letters.cause_of(key_or_id, app=app)
    ids = dead_letters.members(cause, app=app)
    example = job(ids[-1], app=app) if ids else None
    if as_json:
        traceback = example.attempts[-1].traceback if example and example.attempts else None
        output.emit("dead-letters show", group=cause_shape(cause), ids=ids, traceback=traceback)
        return
    console = output.console(ctx)
    where = f" in {safe(cause.frame)}" if cause.frame else ""
    console.print(Text.assemble((safe(cause.task), "bold"), f"  {safe(cause.exception_type)}{where}"))
    for id in ids:
        console.print(Text(id))
    if example and example.attempts:
        job_details.print_attempt(console, example.attempts[-1])


def _print(ctx: click.Context, groups: list[Group]) -> None:
    now = datetime.now(UTC)
    console = output.console(ctx)
    columns = ["group", "jobs", "task", "exception", "frame", "first", "last", "example"]
    rows = Rows(*columns, right=["jobs"], fold=["task", "exception", "frame"], note=True)
    for group in groups:
        cause = Cause.of(group)
        what = map(output.cell, (group.task, group.exception_type, group.frame))
        first, last = ago(group.first, now, units=1), ago(group.last, now, units=1)
        rows.add(cause.key, output.number(group.count), *what, first, last, output.cell(group.example))
    rows.print(console)
