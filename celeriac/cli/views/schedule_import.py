"""``schedules import`` as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.rows import Rows
from celeriac.display import counted, stamp
from celeriac.operate import schedule_import
from celeriac.operate.presentation.shapes import schedule_shape, schedule_state
from celeriac.operate.schedule_import import Line, OldSchedules, Verdict
from celeriac.operate.schedule_import.beat_config import BeatConfig
from celeriac.operate.schedule_import.django_celery_beat import DjangoTables
from celeriac.operate.schedule_import.redbeat import RedbeatKeys


def source(
    app: Celeriac, name: str, *, redis_url: str | None, key_prefix: str, file: str | None
) -> OldSchedules:
    """Where the schedules come from, by the name that the command takes."""
    if name == "redbeat":
        return RedbeatKeys(app, url=redis_url, prefix=key_prefix)
    return BeatConfig(app, file=file) if name == "config" else DjangoTables(app)


def run(
    ctx: click.Context, app: Celeriac, old: OldSchedules, *, apply: bool, undo: bool, as_json: bool
) -> None:
    """Exits with 1 when an entry was refused."""
    step = schedule_import.apply if apply else schedule_import.undo if undo else schedule_import.plan
    lines = step(app, old)
    if as_json:
        output.emit("schedules import", done=apply or undo, entries=[_shape(line) for line in lines])
    else:
        _print(ctx, lines, done=apply or undo)
    ctx.exit(1 if any(line.verdict is Verdict.REFUSED for line in lines) else 0)


def _print(ctx: click.Context, lines: Sequence[Line], *, done: bool) -> None:
    rows = Rows("name", "what", "state", "when", "last run", "next run", fold=["when"], head=2)
    for line in lines:
        ours = line.schedule
        cells = (line.reason,) if ours is None else (ours.description,)
        moments = (None, None) if ours is None else (stamp(ours.last_run), stamp(ours.next_run))
        now = None if ours is None else schedule_state(ours)
        rows.add(*map(output.cell, (line.name, line.verdict, now, *cells, *moments)))
    rows.print(ctx)
    counts = {verdict: sum(line.verdict is verdict for line in lines) for verdict in Verdict}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    output.note(ctx, f"{counted(len(lines), 'schedule')}: {told or 'nothing to do'}")
    if not done:
        output.note(ctx, "this is what would be done; nothing was: --apply does it")


def _shape(line: Line) -> dict[str, object]:
    return {
        "name": line.name,
        "task": line.task,
        "verdict": line.verdict,
        "reason": line.reason,
        "schedule": None if line.schedule is None else schedule_shape(line.schedule),
    }
