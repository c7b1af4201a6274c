"""``celery -A app db``: the ledger's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celeriac.cli.command import Command, as_json, yes
from celeriac.cli.context import celeriac

if TYPE_CHECKING:
    from celeriac.application import Celeriac

# Celery imports every sub-command, whichever is called: Alembic is imported when one of these runs.


@click.group(short_help="The ledger's tables: upgrade, downgrade, current, check, partition.")
def db() -> None:
    """The ledger's tables."""


@db.command(cls=Command)
@click.option("--post", is_flag=True, help="Also what takes away what only an older version needs.")
@as_json
@click.pass_context
def upgrade(ctx: click.Context, post: bool, as_json: bool) -> None:
    """Migrate the database to what this version wants. Safe to run from many machines at once.

    Jobs go on meanwhile: run it before you roll out a new version, and again with --post when no process of
    the old one is left.
    """
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    if post and (old := _living(app, ours=False)):
        raise click.ClickException(f"{old} of another version still live: stop them first")
    where, by_day = app.settings.ledger, app.settings.by_day
    revision = migrate.upgrade(**where, post=post, by_day=by_day, notify=_progress)
    sentence = f"the ledger is at revision {revision}"
    if revision != migrate.head() or migrate.serves_older(app.database):
        sentence += "\nwhen no process of an older version is left: `celery -A app db upgrade --post`"
    _print(sentence, as_json, "db upgrade", revision=revision)


@db.command(cls=Command)
@yes
@as_json
@click.pass_context
def downgrade(ctx: click.Context, yes: bool, as_json: bool) -> None:
    """Take back the newest migration, one step, with what is stored in what it added.

    Run it with the version that made it, after the last process of that version has ended.
    """
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    if new := _living(app, ours=True):
        raise click.ClickException(f"{new} of this version still live: stop them first")
    found = migrate.current(app.database)
    if found == migrate.first():
        raise click.ClickException(f"the ledger is at its first revision, {found}: drop its tables yourself")
    if not yes:
        click.confirm(
            f"take back revision {found}, with what is stored in what it added?", abort=True, err=True
        )
    revision = migrate.downgrade(**app.settings.ledger, notify=_progress)
    _print(f"the ledger is at revision {revision}", as_json, "db downgrade", revision=revision)


@db.command(cls=Command)
@click.option("--undo", is_flag=True, help="Make one plain table of the partitions.")
@yes
@as_json
@click.pass_context
def partition(ctx: click.Context, undo: bool, yes: bool, as_json: bool) -> None:
    """Divide the ledger by days, with all of its jobs; see docs/scaling.md before. PostgreSQL only.

    For a maintenance window: nobody reads or writes jobs meanwhile, and every row is copied.
    """
    from celeriac.ledger.days import convert

    app = celeriac(ctx)
    if app.database.dialect != "postgresql":
        raise click.ClickException("SQLite has no partitions")
    if live := _living(app, ours=True) or _living(app, ours=False):
        raise click.ClickException(f"{live} still live: stop them first, and all producers")
    if not yes:
        click.confirm("copy all jobs, with the ledger locked meanwhile?", abort=True, err=True)
    changed = convert.unite(**app.settings.ledger) if undo else convert.divide(**app.settings.ledger)
    form = "one plain table" if undo else "divided by days"
    sentence = f"the jobs' table is {form}" if changed else f"the jobs' table is {form} already"
    _print(sentence, as_json, "db partition", changed=changed, by_day=not undo)


@db.command(cls=Command)
@as_json
@click.pass_context
def current(ctx: click.Context, as_json: bool) -> None:
    """Print the database's revision and the one that this version wants; exit with 1 when it cannot work."""
    from celeriac.errors import LedgerTooNew, MigrationNeeded
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    found, wanted = migrate.current(app.database), migrate.wanted()
    schema = app.settings.database_schema
    at = f" in schema {schema}" if schema else ""
    values = {"revision": found, "wanted": wanted, **({"schema": schema} if schema else {})}
    sentence = f"{found or 'none'}{at} (this version wants {wanted})"
    try:
        newer = migrate.require(app.database)
    except (LedgerTooNew, MigrationNeeded) as exc:
        _print(sentence, as_json, "db current", **values)
        raise click.ClickException(str(exc)) from None
    sentence = sentence if newer is None else f"{found}{at} (this version wants {wanted}, and works with it)"
    _print(sentence, as_json, "db current", **values)


@db.command(cls=Command)
@as_json
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Compare the database's tables with the models; exit with 1 when they differ."""
    from celeriac.errors import LedgerTooNew, MigrationNeeded
    from celeriac.ledger import migrate

    app = celeriac(ctx)
    try:
        differences = migrate.check(app.database)
    except (LedgerTooNew, MigrationNeeded) as exc:
        raise click.ClickException(str(exc)) from None
    end = "the tables differ from the models" if differences else "the tables are as the models say"
    _print("\n".join([*map(str, differences), end]), as_json, "db check", differences=differences)
    ctx.exit(1 if differences else 0)


def _print(sentence: str, as_json: bool, command: str, **values: Any) -> None:
    if not as_json:
        click.echo(sentence)
        return
    from celeriac.cli import output

    output.emit(command, **values)


def _progress(sentence: str) -> None:
    click.echo(sentence, err=True)


def _living(app: Celeriac, *, ours: bool) -> str:
    """The workers that live and are of this version, or of another, in words; empty when none does."""
    from celeriac import __version__
    from celeriac.ledger import migrate
    from celeriac.operate.overview import live_workers

    if migrate.current(app.database) in (None, *migrate.former()):
        return ""  # it has no workers, or none of this version
    found = [worker for worker in live_workers(app=app) if (worker.version == __version__) is ours]
    names = ", ".join(worker.hostname for worker in found[:5])
    return f"{len(found)} workers ({names})" if found else ""
