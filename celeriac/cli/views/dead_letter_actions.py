"""``dead-letters replay`` and ``discard``: one by its id, or many after a question with their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.command import confirm, text
from celeriac.cli.progress import advancing
from celeriac.display import counted
from celeriac.operate import dead_letters
from celeriac.operate.dead_letters import Cause
from celeriac.operate.listing import resolve
from celeriac.operate.presentation.shapes import is_group_key

PAST = {"replay": "replayed", "discard": "discarded"}


def replay(
    ctx: click.Context,
    app: Celeriac,
    key_or_id: str | None,
    *,
    rate: float | None,
    edit_args: list[Any] | None,
    edit_kwargs: dict[str, Any] | None,
    **options: Any,
) -> None:
    edited = edit_args is not None or edit_kwargs is not None

    def one(id: str) -> bool:
        app.loader.import_default_modules()  # other arguments are checked against the task
        return dead_letters.replay_one(id, args=edit_args, kwargs=edit_kwargs, app=app)

    def many(cause: Cause, **how: Any) -> int:
        if edited:
            raise click.UsageError("other arguments are for one job: name its id")
        return dead_letters.replay(cause, rate=rate, app=app, **how)

    _act(ctx, app, key_or_id, "replay", one, many, **options)


def discard(ctx: click.Context, app: Celeriac, key_or_id: str | None, **options: Any) -> None:
    def one(id: str) -> bool:
        return dead_letters.discard_one(id, app=app)

    def many(cause: Cause, **how: Any) -> int:
        return dead_letters.discard(cause, app=app, **how)

    _act(ctx, app, key_or_id, "discard", one, many, **options)


def _act(
    ctx: click.Context,
    app: Celeriac,
    key_or_id: str | None,
    verb: str,
    one: Callable[[str], bool],
    many: Callable[..., int],
    *,
    task: str | None,
    exception: str | None,
    frame: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    narrow = Cause(
        task=text("task", task), exception_type=text("exception", exception), frame=text("frame", frame)
    )
    if sum([key_or_id is not None, narrow != Cause(), everything]) != 1:
        raise click.UsageError("name one of: a group or an id; --task, --exception or --frame; --all")
    if key_or_id is not None and not is_group_key(key_or_id):
        id = resolve(key_or_id, app=app)
        count = _is_dead(app, id) if dry_run else int(one(id))
    else:
        cause = narrow if key_or_id is None else dead_letters.cause_of(key_or_id, app=app)
        count = many(cause, dry_run=True)
        if count and not dry_run:
            confirm(f"{verb} {counted(count, 'dead letter')}?", yes=yes)
            with advancing(verb, count) as progress:
                count = many(cause, progress=progress)
    none = "no dead letter matches; see `celery -A app dead-letters list`"
    show_outcome(ctx, f"dead-letters {verb}", count, dry_run=dry_run, as_json=as_json, none=none)


def show_outcome(
    ctx: click.Context, command: str, count: int, *, dry_run: bool, as_json: bool, none: str
) -> None:
    """Say with how many dead letters it was done, and end: with 1 where there was none.

    Args:
        command: its words; the last one is what was done.
        none: the sentence for none.
    """
    verb = command.split()[-1]
    if as_json:
        output.emit(command, dry_run=dry_run, count=count)
    elif not count:
        output.note(ctx, none)
    else:
        click.echo(f"would {verb} {count:,}" if dry_run else f"{PAST[verb]} {count:,}")
    ctx.exit(0 if count else 1)


def _is_dead(app: Celeriac, id: str) -> int:
    from celeriac.ledger.schema.lifecycle import JobState
    from celeriac.operate.job import job

    return int(job(id, app=app).state is JobState.FAILED)
