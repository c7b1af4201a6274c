"""Bring the database's tables to the revision that this version wants, or say how far they are."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, func, inspect, select, text
from sqlalchemy.engine import make_url

from celeriac import private_files
from celeriac.errors import MigrationNeeded
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.models import Base

#: Key of the advisory lock that lets only one process migrate at a time; any fixed number.
_LOCK = 5_320_640_517


def upgrade(url: URL | str) -> str:
    """Migrate the database to the newest revision, which is returned. Safe to run from many at once."""
    target = make_url(url)
    if target.get_backend_name() == "sqlite" and target.database:
        private_files.make_directory(Path(target.database).parent)
    database = Database(target, pool=1, patience=30)
    with database.transaction() as connection:
        if database.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        command.upgrade(_config(connection), "head")
    database.close()
    return head()


def current(database: Database) -> str | None:
    """The revision that the database is at; None before the first migration."""
    with database.reading() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def head() -> str:
    """The revision that this version wants."""
    wanted = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert wanted is not None
    return wanted


def check(database: Database) -> list[str]:
    """What differs between the database's tables and the models; empty when nothing does.

    Raises:
        MigrationNeeded: the database is not at the revision that this version wants.
    """
    require_head(database)
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [repr(difference) for difference in compare_metadata(context, Base.metadata)]


def require_head(database: Database) -> None:
    """Raise MigrationNeeded unless the tables are those that this version wants."""
    found, wanted = current(database), head()
    if found != wanted:
        raise MigrationNeeded(found, wanted)


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
