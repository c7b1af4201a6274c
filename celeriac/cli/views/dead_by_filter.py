"""``jobs replay`` and ``jobs discard``: count the dead letters that a filter matches, ask, and do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from celeriac.application import Celeriac
from celeriac.cli.command import confirm
from celeriac.cli.progress import advancing
from celeriac.cli.views.dead_letter_actions import PAST, show_outcome
from celeriac.display import counted
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate import dead_by_filter
from celeriac.operate.job import as_of_now
from celeriac.operate.listing import Filter

_ACTS: dict[str, Callable[..., int]] = {"replay": dead_by_filter.replay, "discard": dead_by_filter.discard}


def act(
    ctx: click.Context,
    app: Celeriac,
    verb: str,
    wanted: Filter,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **how: Any,
) -> None:
    if wanted == Filter():
        raise click.UsageError("name a filter; --since 9999d means every dead letter")
    if wanted.state not in (None, JobState.FAILED):
        raise click.UsageError(f"only dead letters are {PAST[verb]}: leave --state out")
    wanted = as_of_now(wanted, app=app)  # a job that fails after the question is not met
    count = dead_by_filter.count(wanted, app=app)
    if count and not dry_run:
        confirm(f"{verb} {counted(count, 'dead letter')}?", yes=yes)
        with advancing(verb, count) as progress:
            count = _ACTS[verb](wanted, progress=progress, app=app, **how)
    show_outcome(ctx, f"jobs {verb}", count, dry_run=dry_run, as_json=as_json, none="no dead letter fits")
