"""``tokens`` as a table, and as JSON."""

from __future__ import annotations

from datetime import timedelta

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.rows import Rows
from celeriac.display import safe, stamp
from celeriac.errors import BadArgument
from celeriac.operate import tokens
from celeriac.operate.actions import Actor


def create(ctx: click.Context, app: Celeriac, name: str, *, role: str, seconds: float, as_json: bool) -> None:
    try:
        lasts = timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise BadArgument("--expires", f"wanted up to {tokens.LONGEST.days:,} days") from None
    made = tokens.create(name, role=role, lasts=lasts, actor=Actor.at_the_terminal(), app=app)
    if as_json:
        output.emit("tokens create", name=name, role=role, token=made)
        return
    click.echo(made)
    output.note(ctx, f"this is printed once: send it as `Authorization: Bearer …`; it is {role}")


def show_all(ctx: click.Context, app: Celeriac, *, as_json: bool) -> None:
    found = tokens.list_all(app=app)
    if as_json:
        output.emit("tokens list", tokens=found)
    elif found:
        rows = Rows("name", "role", "expires", "last used", "made", "by")
        for each in found:
            ends = f"{stamp(each.expires)}{' (expired)' if each.expired else ''}"
            told = (each.role, ends, stamp(each.last_used), stamp(each.created), each.created_by)
            rows.add(output.cell(each.name), *map(output.cell, told))
        rows.print(ctx)
    else:
        output.note(ctx, "there are no tokens: see `celery -A app tokens create --help`")
    ctx.exit(0 if found else 1)


def revoke(app: Celeriac, name: str, *, as_json: bool) -> None:
    tokens.revoke(name, actor=Actor.at_the_terminal(), app=app)
    if as_json:
        output.emit("tokens revoke", name=name)
    else:
        click.echo(f"{safe(name)} is revoked")
