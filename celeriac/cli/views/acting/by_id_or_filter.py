"""Actions on jobs that a command names: count them, ask, do it, each on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.command import confirm
from celeriac.cli.progress import advancing
from celeriac.display import counted, safe
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.acting import one_job, operations
from celeriac.operate.acting.acts import act_of
from celeriac.operate.acting.carry_out import run_here
from celeriac.operate.acting.operations import Plan
from celeriac.operate.acting.selection import Selection, in_words
from celeriac.operate.actions import Actor
from celeriac.operate.listing import Filter, resolve
from celeriac.operate.presentation.filter_words import options_of, words_of

PAST = {"replay": "replayed", "discard": "discarded", "run-now": "made due", "move": "moved"}
_MEANT = {frozenset({JobState.FAILED}): "dead letter"}


def of_filter(app: Celeriac, wanted: Filter) -> tuple[Selection, dict[str, str]]:
    """What the filter means now, and its words."""
    selection = operations.settled(Selection(wanted=wanted), app=app)
    assert selection.wanted is not None
    return selection, words_of(selection.wanted)


def act(
    ctx: click.Context,
    app: Celeriac,
    action: str,
    ids: Sequence[str],
    wanted: Filter,
    *,
    rate: float | None = None,
    canary: bool = False,
    options: Mapping[str, Any] | None = None,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Do ``action`` with the jobs of ``ids``, or with all that fit the filter."""
    chosen = act_of(action)
    noun = _MEANT.get(chosen.states or frozenset(), "job")
    words: dict[str, str] = {}
    if ids:
        if wanted != Filter():
            raise click.UsageError("name ids or a filter, not both")
        found = [resolve(id, app=app) for id in dict.fromkeys(ids)]
        selection, subject = Selection.of({"ids": found}), in_words(found)
    else:
        _refuse(action, wanted, noun)
        selection, words = of_filter(app, wanted)
        subject = options_of(words).strip()
    plan = Plan(
        action=action,
        selection=selection,
        subject=subject,
        words=words,
        rate=rate,
        options=options or {},
        canary=canary,
    )
    count = operations.count(action, selection, app=app)
    if count and not dry_run:
        if len(ids) != 1:
            confirm(f"{chosen.words} {counted(count, noun)}?", yes=yes)
        count = carry(ctx, app, plan, count=count, reason=reason)
    show_outcome(ctx, f"jobs {action}", count, dry_run=dry_run, as_json=as_json, none=f"no {noun} fits")


def _refuse(action: str, wanted: Filter, noun: str) -> None:
    """Refuse a filter that means all jobs, or none that the action may meet."""
    states = act_of(action).states
    if wanted == Filter():
        raise click.UsageError(f"name ids or a filter; --since 9999d means every {noun}")
    if states is not None and wanted.state is not None and wanted.state not in states:
        raise click.UsageError(f"no job that is {wanted.state} is {PAST[action]}: leave --state out")


def carry(ctx: click.Context, app: Celeriac, plan: Plan, *, count: int, reason: str | None) -> int:
    """Do it in this process; return with how many jobs it was done.

    One job is met in one transaction. Of more there is a row from the start, so that it can be watched and
    stopped in the console; Ctrl-C ends it after the batch that it is at.
    """
    by, ids = Actor.at_the_terminal(), plan.selection.ids
    if ids is not None and len(ids) == 1:
        return int(one_job.act(plan.action, str(ids[0]), by=by, reason=reason, options=plan.options, app=app))
    with advancing(plan.action, count) as progress:
        done, error = run_here(app, plan, by=by, counted=count, reason=reason, progress=progress)
    if error:
        output.note(ctx, error)
    elif plan.action == "replay" and done < count:
        kept = f"{count - done:,} were not: they are no dead letters now, or their unique keys are not free"
        output.note(ctx, f"{kept}; see `celery -A app audit --action 'not replayed'`")
    return done


def show_outcome(
    ctx: click.Context, command: str, count: int, *, dry_run: bool, as_json: bool, none: str
) -> None:
    """Say with how many jobs it was done, and end: with 1 where there was none.

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


def replay_edited(
    ctx: click.Context,
    app: Celeriac,
    id: str,
    *,
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Replay one dead letter with other arguments."""
    app.loader.import_default_modules()  # they are checked against the task
    by = Actor.at_the_terminal()
    found = resolve(id, app=app)
    count = int(one_job.replay(found, by=by, args=args, kwargs=kwargs, reason=reason, app=app))
    show_outcome(ctx, "jobs replay", count, dry_run=False, as_json=as_json, none="it is no dead letter")


def clone(app: Celeriac, id: str, *, as_json: bool) -> None:
    of = resolve(id, app=app)
    made = one_job.clone(of, by=Actor.at_the_terminal(), app=app)
    if as_json:
        output.emit("jobs clone", id=made, of=of)
    else:
        click.echo(safe(made))
