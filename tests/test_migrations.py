"""Migrations: they make what the models say, take it away again, and may be run by many at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, inspect, make_url, select, text

from celeriac.errors import MigrationNeeded
from celeriac.ledger import migrate
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.metadata import METADATA
from celeriac.ledger.schema.models import WORKERS
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart

ROOT = Path(__file__).resolve().parent.parent

A_WORKER = WorkerStart(
    id=UUID(int=1), hostname="here", pid=1, pool="solo", concurrency=1, queues=["low"], tasks="", version="1"
)

#: Waits to be told, so that two of them begin at the same moment.
_UPGRADE = """
import sys
from celeriac.ledger.migrate import upgrade
print("ready", flush=True)
sys.stdin.readline()
print(upgrade(sys.argv[1]))
"""


@pytest.fixture
def database(bare_database_url: str) -> Iterator[Database]:
    made = Database(make_url(bare_database_url))
    yield made
    made.close()


def described(connection: Connection) -> dict[str, Any]:
    """All that is known of the tables, but for the one that Alembic keeps."""
    inspector = inspect(connection)
    tables = [name for name in inspector.get_table_names() if name != "background_version"]
    return {name: _described(inspector, name) for name in tables}


def _described(inspector: Any, table: str) -> dict[str, Any]:
    def options(index: Any) -> dict[str, str]:
        return {name: str(value) for name, value in index.get("dialect_options", {}).items()}

    columns = [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)]
    indexes = [
        (
            index["name"],
            index["column_names"],
            index["unique"],
            options(index),
        )
        for index in inspector.get_indexes(table)
    ]
    return {
        "columns": sorted(columns),
        "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
        "foreign keys": [
            (key["constrained_columns"], key["referred_table"], key["options"])
            for key in inspector.get_foreign_keys(table)
        ],
        "checks": sorted((c["name"], c["sqltext"]) for c in inspector.get_check_constraints(table)),
        "indexes": sorted(indexes, key=str),
    }


def downgrade(url: str) -> None:
    """Step by step, until nothing is left."""
    while migrate.downgrade(url) is not None:
        pass


def test_the_migrations_make_what_the_models_say(bare_database_url: str, database: Database) -> None:
    migrate.upgrade(bare_database_url)
    assert migrate.check(database) == []
    with database.transaction() as connection:
        migrated = described(connection)
    downgrade(bare_database_url)
    with database.transaction() as connection:
        METADATA.create_all(connection)
        assert migrated == described(connection)
    assert set(migrated) == set(METADATA.tables)
    assert all(each["columns"] for each in migrated.values())
    assert {name for name, _ in migrated["background_jobs"]["checks"]} >= {
        "finished_iff_terminal",
        "held_iff_running",
    }


def test_a_downgrade_leaves_nothing(bare_database_url: str, database: Database) -> None:
    migrate.upgrade(bare_database_url)
    downgrade(bare_database_url)
    with database.reading() as connection:
        assert described(connection) == {}
        assert _leftovers(connection) == []
    assert migrate.current(database) is None
    assert migrate.upgrade(bare_database_url) == migrate.current(database)


def _leftovers(connection: Connection) -> list[str]:
    """Tables, indexes, types and sequences of nobody."""
    if connection.dialect.name == "sqlite":
        found = "SELECT name FROM sqlite_master"
    else:
        found = """
            SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
            UNION ALL
            SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
        """
    return list(connection.execute(text(found)).scalars())


def test_an_upgrade_may_be_repeated_and_keeps_the_rows(bare_database_url: str, database: Database) -> None:
    assert migrate.upgrade(bare_database_url) == migrate.head()
    with database.transaction() as connection:
        before = described(connection)
        worker_rows.sign_on(connection, A_WORKER)
    assert migrate.upgrade(bare_database_url) == migrate.head()
    with database.reading() as connection:
        assert described(connection) == before
        assert connection.execute(select(WORKERS.c.id)).scalars().all() == [A_WORKER.id]


def test_two_processes_may_upgrade_at_once(bare_database_url: str, database: Database) -> None:
    with ExitStack() as stack:
        both = [stack.enter_context(_upgrading(bare_database_url)) for _ in range(2)]
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=120) for process in both]
    assert told == [(f"{migrate.head()}\n", "")] * 2
    assert migrate.check(database) == []
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM background_version")).scalar_one() == 1


@contextmanager
def _upgrading(url: str) -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _UPGRADE, url], cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_database_without_tables_is_told(database: Database) -> None:
    assert migrate.current(database) is None
    for ask in (migrate.require, migrate.check):
        with pytest.raises(MigrationNeeded, match="at revision none, this version wants"):
            ask(database)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE background_workers ADD COLUMN surplus INTEGER",
        "DROP INDEX background_workers_by_heartbeat",
    ],
)
def test_what_differs_from_the_models_is_told(
    bare_database_url: str, database: Database, change: str
) -> None:
    migrate.upgrade(bare_database_url)
    with database.transaction() as connection:
        connection.execute(text(change))
    (difference,) = migrate.check(database)
    assert "surplus" in difference or "background_workers_by_heartbeat" in difference


def test_autovacuum_comes_early_on_postgresql(postgres_url: str) -> None:
    with closing(Database(make_url(postgres_url))) as database, database.reading() as connection:
        known = "SELECT unnest(reloptions) FROM pg_class WHERE relname = 'background_jobs'"
        options = dict(option.split("=") for option in connection.execute(text(known)).scalars())
    assert (
        float(options["autovacuum_vacuum_scale_factor"])
        < 0.2
        > float(options["autovacuum_analyze_scale_factor"])
    )  # a fifth is PostgreSQL's own
