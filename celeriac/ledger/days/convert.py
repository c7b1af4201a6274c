"""Convert a ledger that has jobs to partitions by day, and back, for an operator: each in one transaction."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy import URL

from celeriac.errors import MigrationRefused
from celeriac.ledger import former_names
from celeriac.ledger.connection.database import Database
from celeriac.ledger.days import divide as division
from celeriac.ledger.partitions.layout import is_divided


def divide(url: URL, *, schema: str | None = None) -> bool:
    """Divide the jobs' table by days; False: it is already.

    Raises:
        MigrationRefused: programs of an old version use the table through views.
    """
    with (
        closing(Database(url, schema, pool=1, patience=30)) as database,
        database.transaction() as connection,
    ):
        if is_divided(connection):
            return False
        if former_names.views(connection):
            raise MigrationRefused("older programs use views of the tables: first `db upgrade --post`")
        division.divide(connection)
    return True


def unite(url: URL, *, schema: str | None = None) -> bool:
    """Make a plain table of the partitions; False: it is already."""
    with (
        closing(Database(url, schema, pool=1, patience=30)) as database,
        database.transaction() as connection,
    ):
        if not is_divided(connection):
            return False
        division.unite(connection)
    return True
