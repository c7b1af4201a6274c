"""``jobs cancel``: cancel by id, or show how many match a filter, ask, and cancel them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.command import confirm
from celeriac.cli.views.acting.by_id_or_filter import carry, of_filter
from celeriac.display import counted
from celeriac.errors import JobNotFound
from celeriac.ledger.writes.cancel import Answer
from celeriac.operate.acting import one_job, operations
from celeriac.operate.acting.operations import Plan
from celeriac.operate.acting.selection import Selection
from celeriac.operate.actions import Actor
from celeriac.operate.job import job
from celeriac.operate.listing import Filter, JobState, resolve
from celeriac.operate.presentation.filter_words import options_of

_DONE = frozenset({Answer.CANCELLED, Answer.REQUESTED, Answer.ALREADY_CANCELLED})


def cancel_ids(
    ctx: click.Context,
    app: Celeriac,
    ids: Sequence[str],
    wanted: Filter,
    *,
    hard: bool,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Cancel jobs by their ids. For more than one it asks first."""
    if wanted != Filter():
        raise click.UsageError("name ids or a filter, not both")
    found = list(dict.fromkeys(resolve(id, app=app) for id in ids))
    if dry_run:
        _would(ctx, len(found), as_json=as_json)
        return
    if len(found) > 1:
        confirm(f"cancel {counted(len(found), 'job')} for ever?", yes=yes)
    by = Actor.at_the_terminal()
    answers = {id: one_job.cancel(id, by=by, hard=hard, reason=reason, app=app) for id in found}
    if as_json:
        output.emit("jobs cancel", dry_run=False, count=_met(answers.values()), answers=answers)
    for id, answer in answers.items():
        if not as_json:
            click.echo(_sentence(app, id, answer))
    ctx.exit(0 if _met(answers.values()) == len(answers) else 1)


def _sentence(app: Celeriac, id: str, answer: Answer) -> str:
    if answer is Answer.UNKNOWN:
        return str(JobNotFound(id))
    return f"{id} {answer}: {job(id, app=app).state}" if answer is Answer.FINISHED else f"{id} {answer}"


def cancel_matching(
    ctx: click.Context,
    app: Celeriac,
    wanted: Filter,
    *,
    hard: bool,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Cancel all unfinished jobs that match the filter."""
    if wanted == Filter():
        raise click.UsageError("name ids or a filter; --since 9999d means every job")
    action = "cancel-hard" if hard else "cancel"
    selection, words = of_filter(app, wanted)  # a job that is enqueued after the question is not cancelled
    count = operations.count(action, selection, app=app)
    if dry_run:
        _would(ctx, count, as_json=as_json)
        ctx.exit(0 if count else 1)
    if count:
        confirm(f"cancel {counted(count, 'job')} for ever?", yes=yes)
        plan = Plan(action=action, selection=selection, subject=options_of(words).strip(), words=words)
        count = carry(ctx, app, plan, count=count, reason=reason)
    if as_json:
        output.emit("jobs cancel", dry_run=False, count=count, answers={})
    else:
        click.echo(_many(count, _still_running(app, selection)) if count else "no job fits")
    ctx.exit(0 if count else 1)


def _still_running(app: Celeriac, selection: Selection) -> int:
    """How many of the matching jobs still run after they were asked to stop."""
    wanted = selection.wanted
    if wanted is None or wanted.state not in (None, JobState.RUNNING):
        return 0
    running = Selection(wanted=replace(wanted, state=JobState.RUNNING))
    return operations.count("cancel", running, app=app)


def _many(count: int, running: int) -> str:
    """The result in words.

    >>> _many(4, 0), _many(4, 1), _many(1, 1)
    ('cancelled 4 jobs', 'cancelled 3 jobs; asked 1 job that runs to stop', 'asked 1 job that runs to stop')
    """
    running = min(running, count)
    asked = f"asked {counted(running, 'job')} that run{'s' if running == 1 else ''} to stop"
    parts = [f"cancelled {counted(count - running, 'job')}"] if count > running else []
    return "; ".join([*parts, asked] if running else parts)


def _would(ctx: click.Context, count: int, *, as_json: bool) -> None:
    if as_json:
        output.emit("jobs cancel", dry_run=True, count=count, answers={})
    else:
        click.echo(f"would cancel {counted(count, 'job')}")


def _met(answers: Iterable[Answer]) -> int:
    return sum(answer in _DONE for answer in answers)
