"""``dead-letters list``, ``show``, ``mute`` and ``unmute``, for people and as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from rich.text import Text

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.rows import Rows
from celeriac.cli.views import job_details
from celeriac.display import ago, safe
from celeriac.ledger.writes.dead_letters import Group
from celeriac.operate import dead_letters
from celeriac.operate.actions import Actor
from celeriac.operate.alerts import mutes
from celeriac.operate.alerts.mutes import in_force, muted
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import job
from celeriac.operate.presentation.shapes import (
    cause_shape,
    group_shape,
    is_group_key,
    mute_in_words,
    mute_shape,
)


def show_all(ctx: click.Context, app: Celeriac, *, limit: int, as_json: bool) -> None:
    groups = dead_letters.groups(limit=limit, app=app)
    silent = in_force(muted(app=app), groups)
    if as_json:
        output.emit("dead-letters list", groups=[group_shape(group, silent) for group in groups])
    elif groups:
        _print(ctx, [group for group in groups if Cause.of(group).key not in silent])
        for each in silent.values():
            output.note(ctx, f"group {each.key} is {mute_in_words(each)}")
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


def mute(app: Celeriac, key: str, *, lasts: float | None, reason: str | None, as_json: bool) -> None:
    span = None if lasts is None else timedelta(seconds=min(lasts, _ENDLESS))
    made = mutes.mute(key, lasts=span, actor=Actor.at_the_terminal(), reason=reason, app=app)
    if as_json:
        output.emit("dead-letters mute", key=made.key, muted=mute_shape(made))
    else:
        click.echo(f"group {made.key} is {mute_in_words(made)}")


def unmute(ctx: click.Context, app: Celeriac, key: str, *, reason: str | None, as_json: bool) -> None:
    ended = mutes.unmute(key, actor=Actor.at_the_terminal(), reason=reason, app=app)
    if as_json:
        output.emit("dead-letters unmute", key=key, changed=ended)
    elif ended:
        click.echo(f"group {safe(key)} is not muted any more")
    if not ended:
        output.note(ctx, f"group {safe(key)} is not muted")
        ctx.exit(1)


_ENDLESS = 1e9  # seconds; the refusal names the longest span


def _print(ctx: click.Context, groups: list[Group]) -> None:
    now = datetime.now(UTC)
    columns = ["group", "jobs", "task", "exception", "frame", "first", "last", "example"]
    rows = Rows(*columns, right=["jobs"], fold=["task", "exception", "frame"], note=True)
    for group in groups:
        cause = Cause.of(group)
        what = map(output.cell, (group.task, group.exception_type, group.frame))
        first, last = ago(group.first, now, units=1), ago(group.last, now, units=1)
        rows.add(cause.key, output.number(group.count), *what, first, last, output.cell(group.example))
    rows.print(ctx)
