"""``celery -A app db``: the ledger's tables."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.command import Command, as_json
from celeriac.cli.context import celeriac
from celeriac.errors import MigrationNeeded

# Celery imports every sub-command, whichever is called: Alembic is imported when one of these runs.


@click.group(short_help="The ledger's tables: upgrade, current, check.")
def db() -> None:
    """Bring the ledger's tables to the revision that this version wants, or say how far they are."""


@db.command(cls=Command)
@as_json
@click.pass_context
def upgrade(ctx: click.Context, as_json: bool) -> None:
    """Migrate the database to the newest revision. Safe to run from many machines at once."""
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    revision = migrate.upgrade(app.settings.database)
    _tell(f"the ledger is at revision {revision}", as_json, "db upgrade", revision=revision)


@db.command(cls=Command)
@as_json
@click.pass_context
def current(ctx: click.Context, as_json: bool) -> None:
    """Print the database's revision and the one that this version wants."""
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    found, wanted = migrate.current(app.database), migrate.head()
    said = f"{found or 'none'} (this version wants {wanted})"
    _tell(said, as_json, "db current", revision=found, wanted=wanted)
    ctx.exit(0 if found == wanted else 1)


@db.command(cls=Command)
@as_json
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Compare the database's tables with the models; exit with 1 when they differ."""
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    try:
        differences = migrate.check(app.database)
    except MigrationNeeded as exc:
        raise click.ClickException(str(exc)) from None
    end = "the tables differ from the models" if differences else "the tables are as the models say"
    _tell("\n".join([*map(str, differences), end]), as_json, "db check", differences=differences)
    ctx.exit(1 if differences else 0)


def _tell(said: str, as_json: bool, command: str, **values: Any) -> None:
    if not as_json:
        click.echo(said)
        return
    from celeriac.cli import output

    output.emit(command, **values)
