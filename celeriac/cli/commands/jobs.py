"""``celery -A app jobs``: see jobs, cancel them, enqueue one by hand.

Celery imports every sub-command, whichever is called: what these need is imported when they run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from celeriac.cli.command import (
    Command,
    Json,
    Level,
    as_json,
    canary,
    dry_run,
    filter_of,
    filters,
    reason,
    sort,
    yes,
)
from celeriac.cli.context import celeriac

_PRIORITIES = "low, normal, high, critical or 0 to 100"


@click.group(short_help="Jobs in the ledger: list, show, explain, cancel, replay, move, enqueue, watch.")
def jobs() -> None:
    """What the ledger says of jobs. An id may be shortened to what no other id begins with."""


@jobs.command("list", cls=Command)
@filters
@sort
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Jobs of a page.")
@click.option("--after", metavar="KEY", help="The page behind this key, which the page before ended with.")
@click.option(
    "--csv", "as_csv", is_flag=True, help="All that fit, up to 100,000, as a table for other programs."
)
@as_json
@click.pass_context
def list_(ctx: click.Context, /, as_csv: bool, as_json: bool, **options: Any) -> None:
    """List jobs, newest first. Exits with 1 when none fits."""
    from celeriac.cli.views import job_list

    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two things")
    if as_csv:
        job_list.show_csv(ctx, celeriac(ctx), filter_of(options), sort=options["sort"])
    job_list.show(ctx, celeriac(ctx), filter_of(options), as_json=as_json, **options)


@jobs.command(cls=Command)
@click.argument("id")
@click.option("--reveal", is_flag=True, help="Show what is hidden: passwords, tokens, secrets.")
@as_json
@click.pass_context
def show(ctx: click.Context, id: str, reveal: bool, as_json: bool) -> None:
    """Show one job: its way so far, arguments, failed attempts with tracebacks, result."""
    from celeriac.cli.views import job_details

    job_details.show(ctx, celeriac(ctx), id, reveal=reveal, as_json=as_json)


@jobs.command(cls=Command)
@click.argument("id")
@as_json
@click.pass_context
def explain(ctx: click.Context, id: str, as_json: bool) -> None:
    """Say why a job is not running, and what to do about it."""
    from celeriac.cli.views import job_details

    job_details.explain(ctx, celeriac(ctx), id, as_json=as_json)


@jobs.command(cls=Command)
@click.argument("ids", nargs=-1)
@filters
@click.option(
    "--hard", is_flag=True, help="Terminate what runs (burst, prefork); else a running task is only asked."
)
@reason
@dry_run
@yes
@as_json
@click.pass_context
def cancel(ctx: click.Context, /, ids: tuple[str, ...], **options: Any) -> None:
    """Cancel jobs for ever: those of these IDS, or all unfinished ones that fit the filter."""
    from celeriac.cli.views.acting import cancel_jobs

    wanted = filter_of(options)
    if ids:
        cancel_jobs.cancel_ids(ctx, celeriac(ctx), ids, wanted, **options)
    else:
        cancel_jobs.cancel_matching(ctx, celeriac(ctx), wanted, **options)


@jobs.command(cls=Command)
@click.argument("ids", nargs=-1)
@filters
@click.option("--rate", type=click.FloatRange(min=0.1), help="Jobs a second, at most.")
@canary
@click.option("--args", type=Json(list), metavar="JSON", help="Other positional arguments, for one job.")
@click.option("--kwargs", type=Json(dict), metavar="JSON", help="Other keyword arguments, for one job.")
@reason
@dry_run
@yes
@as_json
@click.pass_context
def replay(ctx: click.Context, /, ids: tuple[str, ...], args: Any, kwargs: Any, **options: Any) -> None:
    """Set dead letters back to pending, with fresh tries: those of these IDS, or all that fit the filter."""
    from celeriac.cli.views.acting import by_id_or_filter

    wanted = filter_of(options)
    if args is None and kwargs is None:
        by_id_or_filter.act(ctx, celeriac(ctx), "replay", ids, wanted, **options)
        return
    if len(ids) != 1 or options["dry_run"]:
        raise click.UsageError("other arguments are for one job: name its id")
    more = {"reason": options["reason"], "as_json": options["as_json"]}
    by_id_or_filter.replay_edited(ctx, celeriac(ctx), ids[0], args=args, kwargs=kwargs, **more)


@jobs.command(cls=Command)
@click.argument("ids", nargs=-1)
@filters
@reason
@dry_run
@yes
@as_json
@click.pass_context
def discard(ctx: click.Context, /, ids: tuple[str, ...], **options: Any) -> None:
    """Delete dead letters with their history: those of these IDS, or all that fit the filter."""
    from celeriac.cli.views.acting import by_id_or_filter

    by_id_or_filter.act(ctx, celeriac(ctx), "discard", ids, filter_of(options), **options)


@jobs.command("run-now", cls=Command)
@click.argument("ids", nargs=-1)
@filters
@reason
@dry_run
@yes
@as_json
@click.pass_context
def run_now(ctx: click.Context, /, ids: tuple[str, ...], **options: Any) -> None:
    """Make jobs due that wait for a time: those of these IDS, or all that fit the filter."""
    from celeriac.cli.views.acting import by_id_or_filter

    by_id_or_filter.act(ctx, celeriac(ctx), "run-now", ids, filter_of(options), **options)


@jobs.command(cls=Command)
@click.argument("ids", nargs=-1)
@filters
@click.option("--to-queue", metavar="NAME", help="The lane, or a level of it, as gpu or gpu.high.")
@click.option("--to-priority", type=Level(), metavar="LEVEL", help=_PRIORITIES)
@reason
@dry_run
@yes
@as_json
@click.pass_context
def move(
    ctx: click.Context, /, ids: tuple[str, ...], to_queue: str | None, to_priority: int | None, **options: Any
) -> None:
    """Give jobs that wait another queue or priority: those of these IDS, or all that fit the filter."""
    from celeriac.cli.views.acting import by_id_or_filter
    from celeriac.operate.acting import moving

    to, wanted = moving.checked(celeriac(ctx), to_queue, to_priority), filter_of(options)
    by_id_or_filter.act(ctx, celeriac(ctx), "move", ids, wanted, options=to, **options)


@jobs.command(cls=Command)
@click.argument("id")
@as_json
@click.pass_context
def clone(ctx: click.Context, id: str, as_json: bool) -> None:
    """Enqueue a new job with the arguments of this one; print its id."""
    from celeriac.cli.views.acting import by_id_or_filter

    by_id_or_filter.clone(celeriac(ctx), id, as_json=as_json)


@jobs.command(cls=Command)
@click.argument("task")
@click.option("-a", "--arg", "args", type=Json(), multiple=True, help="A positional argument, as JSON.")
@click.option("-k", "--kwarg", "kwargs", multiple=True, metavar="NAME=JSON", help="A keyword argument.")
@click.option(
    "--json-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help='A file with {"args": […], "kwargs": {…}}; - is the standard input.',
)
@click.option("--queue", metavar="NAME")
@click.option("--priority", type=Level(), metavar="LEVEL", help=_PRIORITIES)
@click.option("--countdown", type=click.FloatRange(min=0), metavar="SECONDS", help="Not before then.")
@click.option("--user", metavar="ID", help="For whom.")
@click.option("--idempotency-key", metavar="KEY", help="One job per task and key, however often it is typed.")
@as_json
@click.pass_context
def enqueue(ctx: click.Context, /, task: str, as_json: bool, **options: Any) -> None:
    """Enqueue a job of TASK, whose arguments are checked against its signature."""
    from celeriac.cli.views import enqueue_job

    enqueue_job.enqueue(ctx, celeriac(ctx), task, as_json=as_json, **options)


@jobs.command(cls=Command)
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds.")
@click.option("--times", type=click.IntRange(min=1), help="Looks, then it ends; else until Ctrl-C.")
@as_json
@click.pass_context
def watch(ctx: click.Context, interval: float, times: int | None, as_json: bool) -> None:
    """Watch how many jobs wait, run and end. Lines where there is no terminal, JSON lines with --json."""
    from celeriac.cli.views import job_watch

    job_watch.watch(ctx, celeriac(ctx), interval=interval, times=times, as_json=as_json)
