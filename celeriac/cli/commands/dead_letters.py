"""``celery -A app dead-letters``: failed jobs in groups of the same cause; replay, discard, mute them.

Celery imports every sub-command, whichever is called: what these need is imported when they run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from celeriac.cli.command import Command, Json, Seconds, as_json, canary, dry_run, reason, yes
from celeriac.cli.context import celeriac

Function = TypeVar("Function", bound=Callable[..., Any])

_CAUSES = (
    click.option("--task", metavar="NAME", help="Those of this task."),
    click.option("--exception", metavar="TYPE", help="Those whose last attempt raised this."),
    click.option("--frame", metavar="FILE:FUNCTION", help="Those that failed there."),
    click.option("--all", "everything", is_flag=True, help="All of them."),
)


def _causes(function: Function) -> Function:
    for option in reversed(_CAUSES):
        function = option(function)
    return function


@click.group("dead-letters", short_help="Failed jobs: list, show, replay, discard, mute.")
def dead_letters() -> None:
    """Jobs that were given up. Groups have the same task, exception and failing frame; each has a key."""


@dead_letters.command("list", cls=Command)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Groups.")
@as_json
@click.pass_context
def list_(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the groups, the largest first. Exits with 1 when there is no dead letter."""
    from celeriac.cli.views import dead_letter_list

    dead_letter_list.show_all(ctx, celeriac(ctx), limit=limit, as_json=as_json)


@dead_letters.command(cls=Command)
@click.argument("key_or_id", metavar="GROUP|ID")
@click.option("--reveal", is_flag=True, help="Show what is hidden: passwords, tokens, secrets.")
@as_json
@click.pass_context
def show(ctx: click.Context, key_or_id: str, reveal: bool, as_json: bool) -> None:
    """Show a group with some of its members, or one dead letter with its attempts."""
    from celeriac.cli.views import dead_letter_list

    dead_letter_list.show_one(ctx, celeriac(ctx), key_or_id, reveal=reveal, as_json=as_json)


@dead_letters.command(cls=Command)
@click.argument("key_or_id", metavar="[GROUP|ID]", required=False)
@_causes
@click.option("--rate", type=click.FloatRange(min=0.1), help="Jobs a second, at most.")
@canary
@click.option("--edit-args", type=Json(list), metavar="JSON", help="Other positional arguments, for one job.")
@click.option("--edit-kwargs", type=Json(dict), metavar="JSON", help="Other keyword arguments, for one job.")
@reason
@dry_run
@yes
@as_json
@click.pass_context
def replay(ctx: click.Context, /, key_or_id: str | None, **options: Any) -> None:
    """Set dead letters back to pending with fresh tries and their history: one, a group, or a cause."""
    from celeriac.cli.views.acting import dead_letter_actions

    dead_letter_actions.replay(ctx, celeriac(ctx), key_or_id, **options)


@dead_letters.command(cls=Command)
@click.argument("key_or_id", metavar="[GROUP|ID]", required=False)
@_causes
@reason
@dry_run
@yes
@as_json
@click.pass_context
def discard(ctx: click.Context, /, key_or_id: str | None, **options: Any) -> None:
    """Delete dead letters with their history: one, a group, or a cause."""
    from celeriac.cli.views.acting import dead_letter_actions

    dead_letter_actions.discard(ctx, celeriac(ctx), key_or_id, **options)


@dead_letters.command(cls=Command)
@click.argument("key", metavar="GROUP")
@click.option(
    "--for", "lasts", type=Seconds(), metavar="SPAN", help="For so long: 8h, 7d; else until it changes."
)
@reason
@as_json
@click.pass_context
def mute(ctx: click.Context, key: str, lasts: float | None, reason: str | None, as_json: bool) -> None:
    """Show a group apart and tell nobody of it: for a time, until it has doubled, or until `unmute`."""
    from celeriac.cli.views import dead_letter_list

    dead_letter_list.mute(celeriac(ctx), key, lasts=lasts, reason=reason, as_json=as_json)


@dead_letters.command(cls=Command)
@click.argument("key", metavar="GROUP")
@reason
@as_json
@click.pass_context
def unmute(ctx: click.Context, key: str, reason: str | None, as_json: bool) -> None:
    """End a mute. Exits with 1 when the group is not muted."""
    from celeriac.cli.views import dead_letter_list

    dead_letter_list.unmute(ctx, celeriac(ctx), key, reason=reason, as_json=as_json)
