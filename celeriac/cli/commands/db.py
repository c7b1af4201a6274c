"""``celery -A app db``: the ledger's tables."""

from __future__ import annotations

import click
from celery.bin.base import CeleryCommand

from celeriac.cli.context import celeriac
from celeriac.errors import MigrationNeeded

# Celery imports every sub-command, whichever is called: Alembic is imported when one of these runs.


@click.group(short_help="The ledger's tables: upgrade, current, check.")
def db() -> None:
    """Bring the ledger's tables to the revision that this version wants, or say how far they are."""


@db.command(cls=CeleryCommand)
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Migrate the database to the newest revision. Safe to run from many machines at once."""
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    click.echo(f"the ledger is at revision {migrate.upgrade(app.settings.database)}")


@db.command(cls=CeleryCommand)
@click.pass_context
def current(ctx: click.Context) -> None:
    """Print the database's revision and the one that this version wants."""
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    found, wanted = migrate.current(app.database), migrate.head()
    click.echo(f"{found or 'none'} (this version wants {wanted})")
    ctx.exit(0 if found == wanted else 1)


@db.command(cls=CeleryCommand)
@click.pass_context
def check(ctx: click.Context) -> None:
    """Compare the database's tables with the models; exit with 1 when they differ."""
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    try:
        differences = migrate.check(app.database)
    except MigrationNeeded as exc:
        raise click.ClickException(str(exc)) from None
    for difference in differences:
        click.echo(difference)
    click.echo("the tables differ from the models" if differences else "the tables are as the models say")
    ctx.exit(1 if differences else 0)
