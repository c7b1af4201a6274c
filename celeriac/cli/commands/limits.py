"""``celery -A app limits``: what is in use and waits; set, pause, resume, breaker."""

from __future__ import annotations

import click

from celeriac.cli.command import Command, Group, as_json, reason
from celeriac.cli.context import celeriac


@click.group(
    cls=Group, invoke_without_command=True, short_help="Limits: in use, waiting; set, pause, resume."
)
@as_json
@click.pass_context
def limits(ctx: click.Context, as_json: bool) -> None:
    """Show every limit: what holds, what runs, what is on its way to a worker, and what waits."""
    if ctx.invoked_subcommand is not None:
        return
    from celeriac.cli.views import limit_tables

    limit_tables.show_limits(ctx, celeriac(ctx), as_json=as_json)


@limits.command("list", cls=Command)
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Show every limit, as ``limits`` alone does."""
    from celeriac.cli.views import limit_tables

    limit_tables.show_limits(ctx, celeriac(ctx), as_json=as_json)


@limits.command(cls=Command)
@click.argument("name")
@as_json
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show the limit NAME by key, the busiest first."""
    from celeriac.cli.views import limit_tables

    limit_tables.show_limit(ctx, celeriac(ctx), name, as_json=as_json)


@limits.command("set", cls=Command)
@click.argument("name")
@click.option("--concurrency", type=int, help="jobs that run at once")
@click.option("--rate", help='starts in a time, as "100/m"')
@click.option("--as-code-says", is_flag=True, help="take back what was set")
@reason
@as_json
@click.pass_context
def set_(
    ctx: click.Context,
    name: str,
    concurrency: int | None,
    rate: str | None,
    as_code_says: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Let other values of the limit NAME hold, without a deploy, in place of the code's."""
    from celeriac.cli.views import limit_tables

    limit_tables.set_values(
        ctx,
        celeriac(ctx),
        name,
        concurrency=concurrency,
        rate=rate,
        unset=as_code_says,
        reason=reason,
        as_json=as_json,
    )


@limits.command(cls=Command)
@click.argument("name")
@reason
@as_json
@click.pass_context
def pause(ctx: click.Context, name: str, reason: str | None, as_json: bool) -> None:
    """Let no more jobs of the limit NAME start until it is resumed. What runs goes on."""
    from celeriac.cli.views import limit_tables

    limit_tables.pause(celeriac(ctx), name, reason=reason, as_json=as_json)


@limits.command(cls=Command)
@click.argument("name")
@reason
@as_json
@click.pass_context
def resume(ctx: click.Context, name: str, reason: str | None, as_json: bool) -> None:
    """Let jobs of the limit NAME start again. Exits with 1 when it was not paused."""
    from celeriac.cli.views import limit_tables

    if not limit_tables.resume(celeriac(ctx), name, reason=reason, as_json=as_json):
        ctx.exit(1)


@limits.command(cls=Command)
@click.argument("name")
@click.argument("to", type=click.Choice(["open", "closed", "auto"]))
@reason
@as_json
@click.pass_context
def breaker(ctx: click.Context, name: str, to: str, reason: str | None, as_json: bool) -> None:
    """Open or close the circuit breaker of the limit NAME, whatever fails; auto lets it judge again."""
    from celeriac.cli.views import limit_tables

    limit_tables.switch(celeriac(ctx), name, to, reason=reason, as_json=as_json)
