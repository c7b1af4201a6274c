"""``audit`` as rows and as JSON."""

from __future__ import annotations

from typing import Any

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.output import Cell
from celeriac.cli.rows import Rows
from celeriac.display import stamp
from celeriac.operate.actions import Action, list_actions
from celeriac.operate.listing import resolve
from celeriac.operate.presentation.action_shapes import action_shape
from celeriac.operate.presentation.audit_words import wanted_of

_COLUMNS = ("began", "who", "from", "action", "state", "jobs", "what")
_NAME = 40  # characters of a name, at most


def show(
    ctx: click.Context, app: Celeriac, *, limit: int, after: str | None, as_json: bool, **words: Any
) -> None:
    if words["job"] is not None:
        words["job"] = resolve(words["job"], app=app)
    found = list_actions(**wanted_of(words), limit=limit, after=after, app=app)
    if as_json:
        output.emit("audit", actions=[action_shape(each) for each in found.actions], next=found.next)
    elif found.actions:
        rows = Rows(*_COLUMNS, right=["jobs"], head=4, note=True)
        for each in found.actions:
            rows.add(*_cells(each))
        rows.print(ctx)
    else:
        output.note(ctx, "no action fits")
    if found.next and not as_json:
        output.note(ctx, f"there are more: --after {found.next}")
    ctx.exit(0 if found.actions else 1)


def _cells(action: Action) -> list[Cell]:
    more = [f"because {action.reason}" if action.reason else "", action.error or ""]
    return [
        stamp(action.began),
        output.cell(action.who, length=_NAME),
        action.via,
        action.action,
        action.state,
        output.number(action.done),
        output.cell("; ".join(filter(None, [action.subject, *more]))),
    ]
