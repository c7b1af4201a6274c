"""``celery -A app console``: the ledger in a browser; and a line of its file of users."""

from __future__ import annotations

import click

from celeriac.cli.command import Command, as_json
from celeriac.cli.context import celeriac, named_app
from celeriac.errors import CeleriacError

_ROLES = ("viewer", "operator", "admin")


@click.group(invoke_without_command=True, short_help="The console: the ledger in a browser.")
@click.option("--address", default="127.0.0.1", show_default=True, help="On which it listens.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Unless CELERIAC_CONSOLE_PORT says; 0: a free one."
)
@click.pass_context
def console(ctx: click.Context, address: str, port: int | None) -> None:
    """Serve the console until Ctrl-C, and print its address first.

    On this machine alone, without users: the address has a token that opens one session. Any other address
    needs CELERIAC_CONSOLE_USERS or CELERIAC_CONSOLE_PROXIES.
    """
    if ctx.invoked_subcommand is not None:
        return
    from celeriac.cli.views import console_server

    try:
        console_server.serve(celeriac(ctx), named=named_app(ctx), address=address, port=port)
    except CeleriacError as exc:
        click.secho(f"error: {exc}", fg="red", err=True)
        ctx.exit(1)


@console.command(cls=Command)
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="viewer", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from the standard input.")
@as_json
@click.pass_context
def user(ctx: click.Context, name: str, role: str, password_stdin: bool, as_json: bool) -> None:
    """Print the line of a user for the file of CELERIAC_CONSOLE_USERS."""
    from celeriac.cli.views import console_server

    console_server.show_line(name, role, from_stdin=password_stdin, as_json=as_json)
