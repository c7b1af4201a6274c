"""``celery -A app schedules``: see schedules and change them.

Celery imports every sub-command, whichever is called: what these need is imported when they run.
"""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.command import Command, Json, Level, Seconds, as_json
from celeriac.cli.context import celeriac


@click.group(short_help="Schedules: list, show, add, remove, enable, disable, run-now, next, import.")
def schedules() -> None:
    """Look at schedules and change them. Static ones are changed in the file that they come from."""


@schedules.command("list", cls=Command)
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Every schedule, by name. Exits with 1 when there is none."""
    from celeriac.cli.views import schedule_list

    schedule_list.show_all(ctx, celeriac(ctx), as_json=as_json)


@schedules.command(cls=Command)
@click.argument("name")
@as_json
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """All that is known of one schedule."""
    from celeriac import schedules as registry
    from celeriac.cli.views import schedule_list
    from celeriac.operate.history.skips import skipped

    app = celeriac(ctx)
    found = registry.get(name, app=app)
    schedule_list.show_one(ctx, found, as_json=as_json, skips=skipped(found.name, app=app))


@schedules.command(cls=Command)
@click.argument("name")
@click.argument("task")
@click.option("--every", type=Seconds(), help="An interval: 90, 90s, 5m, 2h, 1d.")
@click.option("--cron", help='Five fields or @daily and the like: "0 3 * * mon-fri".')
@click.option("--at", help="One moment, ISO 8601.")
@click.option("--args", type=Json(list), default="[]", help="Positional arguments, a JSON array.")
@click.option("--kwargs", type=Json(dict), default="{}", help="Keyword arguments, a JSON object.")
@click.option("--priority", type=Level(), help="low, normal, high, critical, or 0 to 100.")
@click.option("--queue")
@click.option("--user-id")
@click.option("--max-tries", type=int)
@click.option("--timeout", type=float, help="Seconds an attempt may take.")
@click.option("--expires", type=float, help="Seconds after the fire from which on the job is not begun.")
@click.option("--timezone", help="Of cron and of moments that name none: Europe/Berlin.")
@click.option("--start", help="No due time before it, ISO 8601.")
@click.option("--end", help="No due time after it, ISO 8601.")
@click.option("--catch-up", type=click.Choice(["skip", "once", "all"]), default="once", show_default=True)
@click.option("--catch-up-limit", type=int, default=100, show_default=True)
@click.option("--overlap", type=click.Choice(["allow", "skip"]), default="allow", show_default=True)
@click.option(
    "--jitter", type=Seconds(), default="0", help="Seconds that a job waits after its due time, at most."
)
@click.option("--run-immediately", is_flag=True, help="An interval's first due time is now.")
@click.option("--disabled", is_flag=True, help="Not fired until it is enabled.")
@as_json
@click.pass_context
def add(ctx: click.Context, /, name: str, task: str, as_json: bool, disabled: bool, **options: Any) -> None:
    """Make the schedule NAME of TASK, or change it; it keeps its history."""
    from celeriac import schedules as registry
    from celeriac.cli.views import schedule_list
    from celeriac.operate.actions import Actor

    enabled = False if disabled else None
    also = Actor.at_the_terminal().noting("schedule add", name)
    made = registry.register(name, task, enabled=enabled, also=also, app=celeriac(ctx), **options)
    schedule_list.show_one(ctx, made, as_json=as_json)


@schedules.command(cls=Command)
@click.argument("name")
@as_json
@click.pass_context
def remove(ctx: click.Context, name: str, as_json: bool) -> None:
    """Remove a schedule; the jobs that it made stay."""
    from celeriac import schedules as registry
    from celeriac.cli.views import schedule_list
    from celeriac.operate.actions import Actor

    registry.unregister(name, also=Actor.at_the_terminal().noting("schedule remove", name), app=celeriac(ctx))
    schedule_list.show_change("schedules remove", name, "is removed", as_json=as_json)


@schedules.command(cls=Command)
@click.argument("name")
@as_json
@click.pass_context
def enable(ctx: click.Context, name: str, as_json: bool) -> None:
    """Let a schedule fire again, from its next due time on."""
    from celeriac import schedules as registry
    from celeriac.cli.views import schedule_list
    from celeriac.display import stamp
    from celeriac.operate.actions import Actor

    found = registry.enable(
        name, also=Actor.at_the_terminal().noting("schedule enable", name), app=celeriac(ctx)
    )
    what = f"is enabled, next run {stamp(found.next_run)}"
    schedule_list.show_change("schedules enable", name, what, as_json=as_json, schedule=found)


@schedules.command(cls=Command)
@click.argument("name")
@as_json
@click.pass_context
def disable(ctx: click.Context, name: str, as_json: bool) -> None:
    """Let a schedule fire no more, whatever is started, until it is enabled."""
    from celeriac import schedules as registry
    from celeriac.cli.views import schedule_list
    from celeriac.operate.actions import Actor

    found = registry.disable(
        name, also=Actor.at_the_terminal().noting("schedule disable", name), app=celeriac(ctx)
    )
    schedule_list.show_change("schedules disable", name, "is disabled", as_json=as_json, schedule=found)


@schedules.command("run-now", cls=Command)
@click.argument("name")
@as_json
@click.pass_context
def run_now(ctx: click.Context, name: str, as_json: bool) -> None:
    """Make a job of a schedule at once; print its id. The due times stay as they are."""
    from celeriac import schedules as registry
    from celeriac.cli.views import schedule_list
    from celeriac.operate.actions import Actor

    also = Actor.at_the_terminal().noting("schedule run", name)
    schedule_list.show_run(name, registry.run_now(name, also=also, app=celeriac(ctx)), as_json=as_json)


@schedules.command("next", cls=Command)
@click.argument("name")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True)
@as_json
@click.pass_context
def next_(ctx: click.Context, name: str, count: int, as_json: bool) -> None:
    """The next due times, in UTC."""
    from celeriac import schedules as registry
    from celeriac.cli.views import schedule_list

    schedule_list.show_next(name, registry.next_runs(name, count, app=celeriac(ctx)), as_json=as_json)


@schedules.command("import", cls=Command)
@click.option(
    "--from",
    "source",
    type=click.Choice(["django-celery-beat", "redbeat", "config"]),
    required=True,
    help="Whose schedules; config: beat_schedule, with when each ran last.",
)
@click.option("--apply", is_flag=True, help="Copy them, and disable them there.")
@click.option("--undo", is_flag=True, help="Remove the copies, and give those there their state back.")
@click.option("--redis-url", metavar="URL", help="redbeat: where its keys are; the broker unless given.")
@click.option("--key-prefix", default="redbeat:", show_default=True, help="redbeat: of its keys.")
@click.option("--file", metavar="PATH", help="config: beat's file; beat_schedule_filename unless given.")
@as_json
@click.pass_context
def import_(ctx: click.Context, /, source: str, apply: bool, undo: bool, as_json: bool, **where: Any) -> None:
    """Copy the schedules of another scheduler, with their state. Without --apply it says what it would do.

    Stop that scheduler first. Exits with 1 when one of them cannot be copied.
    """
    from celeriac.cli.views import schedule_import

    if apply and undo:
        raise click.UsageError("--apply and --undo are two things")
    old = schedule_import.source(celeriac(ctx), source, **where)
    schedule_import.run(ctx, celeriac(ctx), old, apply=apply, undo=undo, as_json=as_json)
