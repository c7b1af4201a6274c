"""``dead-letters replay`` and ``discard``: one by its id, or many after a question with their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from celeriac.application import Celeriac
from celeriac.cli.command import confirm, text
from celeriac.cli.views.acting.by_id_or_filter import carry, show_outcome
from celeriac.display import counted
from celeriac.operate import dead_letters
from celeriac.operate.acting import one_job, operations
from celeriac.operate.acting.operations import Plan
from celeriac.operate.acting.selection import Selection
from celeriac.operate.actions import Actor
from celeriac.operate.dead_letters import Cause
from celeriac.operate.listing import resolve
from celeriac.operate.presentation.filter_words import options_of
from celeriac.operate.presentation.shapes import is_group_key


def replay(
    ctx: click.Context,
    app: Celeriac,
    key_or_id: str | None,
    *,
    rate: float | None,
    canary: bool,
    edit_args: list[Any] | None,
    edit_kwargs: dict[str, Any] | None,
    reason: str | None,
    **options: Any,
) -> None:
    edited = edit_args is not None or edit_kwargs is not None

    def one(id: str) -> bool:
        app.loader.import_default_modules()  # other arguments are checked against the task
        by = Actor.at_the_terminal()
        return one_job.replay(id, by=by, args=edit_args, kwargs=edit_kwargs, reason=reason, app=app)

    def plan(cause: Cause, subject: str) -> Plan:
        if edited:
            raise click.UsageError("other arguments are for one job: name its id")
        chosen = operations.settled(Selection(causes=(cause,)), app=app)
        return Plan(action="replay", selection=chosen, subject=subject, rate=rate, canary=canary)

    _act(ctx, app, key_or_id, "replay", one, plan, reason=reason, **options)


def discard(
    ctx: click.Context, app: Celeriac, key_or_id: str | None, *, reason: str | None, **options: Any
) -> None:
    def one(id: str) -> bool:
        return one_job.act("discard", id, by=Actor.at_the_terminal(), reason=reason, app=app)

    def plan(cause: Cause, subject: str) -> Plan:
        chosen = operations.settled(Selection(causes=(cause,)), app=app)
        return Plan(action="discard", selection=chosen, subject=subject)

    _act(ctx, app, key_or_id, "discard", one, plan, reason=reason, **options)


def _act(
    ctx: click.Context,
    app: Celeriac,
    key_or_id: str | None,
    verb: str,
    one: Callable[[str], bool],
    plan_of: Callable[[Cause, str], Plan],
    *,
    task: str | None,
    exception: str | None,
    frame: str | None,
    everything: bool,
    reason: str | None,
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
        plan = plan_of(cause, f"group {key_or_id}" if key_or_id else _in_words(narrow))
        count = operations.count(verb, plan.selection, app=app)
        if count and not dry_run:
            confirm(f"{verb} {counted(count, 'dead letter')}?", yes=yes)
            count = carry(ctx, app, plan, count=count, reason=reason)
    none = "no dead letter matches; see `celery -A app dead-letters list`"
    show_outcome(ctx, f"dead-letters {verb}", count, dry_run=dry_run, as_json=as_json, none=none)


def _in_words(cause: Cause) -> str:
    named = {"task": cause.task, "exception": cause.exception_type, "frame": cause.frame}
    words = options_of({name: value for name, value in named.items() if value is not None})
    return f"dead letters{words}" if words else "all dead letters"


def _is_dead(app: Celeriac, id: str) -> int:
    from celeriac.ledger.schema.lifecycle import JobState
    from celeriac.operate.job import job

    return int(job(id, app=app).state is JobState.FAILED)
