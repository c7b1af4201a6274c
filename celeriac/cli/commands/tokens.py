"""``celery -A app tokens``: the tokens of programs that use the console's HTTP API."""

from __future__ import annotations

import click

from celeriac.cli.command import Command, Seconds, as_json
from celeriac.cli.context import celeriac

_ROLES = ("viewer", "operator", "admin")


@click.group(short_help="Tokens of the HTTP API: create, list, revoke.")
def tokens() -> None:
    """Tokens with which programs use the console's HTTP API, each with a role and an end."""


@tokens.command(cls=Command)
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="viewer", show_default=True)
@click.option("--expires", type=Seconds(), default="90d", show_default=True, help="After so long: 12h, 90d.")
@as_json
@click.pass_context
def create(ctx: click.Context, name: str, role: str, expires: float, as_json: bool) -> None:
    """Make a token and print it. It is printed this once; the ledger has its hash alone."""
    from celeriac.cli.views import token_list

    token_list.create(ctx, celeriac(ctx), name, role=role, seconds=expires, as_json=as_json)


@tokens.command("list", cls=Command)
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Every token, by name. Exits with 1 when there is none."""
    from celeriac.cli.views import token_list

    token_list.show_all(ctx, celeriac(ctx), as_json=as_json)


@tokens.command(cls=Command)
@click.argument("name")
@as_json
@click.pass_context
def revoke(ctx: click.Context, name: str, as_json: bool) -> None:
    """Remove a token. A console refuses it within two seconds."""
    from celeriac.cli.views import token_list

    token_list.revoke(celeriac(ctx), name, as_json=as_json)
