"""The names that the ledger's tables had before revision 0011, and the way to those of now and back.

A former ledger kept its revision in ``alembic_version``. That name belongs to the application whose database
it is, so nothing here reads or changes such a table before those around it were recognized as the ledger's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from alembic import op
from sqlalchemy import ColumnClause, Connection, Select, column, inspect, select, table, text

from celeriac.errors import MigrationRefused
from celeriac.ledger.connection.schema_name import schema_of
from celeriac.ledger.schema.columns import Instant, after

#: Where a ledger's revision stands, and where it stood.
VERSION_TABLE = "background_version"
FORMER_VERSION_TABLE = "alembic_version"

#: The revision that renames the tables, and the one before it.
RENAMED, LAST_FORMER = "0011", "0010"

_REVISIONS = frozenset(f"{number:04}" for number in range(1, int(RENAMED)))

#: The former name of each table that had another one.
FORMER: Mapping[str, str] = MappingProxyType(
    {
        "background_attempts": "failed_attempts",
        "background_schedules": "schedules",
        "background_worker_tasks": "worker_tasks",
        "background_workers": "workers",
    }
)

#: By which a former ledger is recognized: columns that its tables have had since the first revision.
_SHAPE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "background_jobs": frozenset(
            {"id", "job_type", "state", "next_attempt_after", "try_count", "max_tries"}
        ),
        "failed_attempts": frozenset({"job_id", "attempt", "worker_id", "kind", "frame"}),
        "schedules": frozenset({"name", "task", "catch_up", "overlap", "run_count"}),
        "workers": frozenset({"id", "hostname", "concurrency", "tasks", "heartbeat"}),
    }
)

#: The comment by which a view that older programs need is told from somebody else's.
_MARK = "celeriac: for programs of before revision 0011; `db upgrade --post` takes it away"

#: SQLite keeps a view's text as it was written. Programs of before cannot work without their tables. They
#: learn it here, by a revision and a ``works_with`` that they do not know.
_SQLITE_VIEW = (
    "CREATE VIEW alembic_version AS SELECT version_num, '0011' AS works_with FROM background_version"
    " /* for programs of before revision 0011; `db upgrade --post` takes it away */"
)

#: A worker is taken for alive when its heartbeat is not older than this.
_SILENCE = timedelta(minutes=1)


def is_former(connection: Connection) -> bool:
    """Whether the database has a ledger whose tables have their former names."""
    inspector, schema = inspect(connection), schema_of(connection)
    tables = set(inspector.get_table_names(schema))
    if VERSION_TABLE in tables or not tables >= {*_SHAPE, FORMER_VERSION_TABLE}:
        return False
    for name, columns in _SHAPE.items():
        if not columns <= {each["name"] for each in inspector.get_columns(name, schema)}:
            return False
    revisions: Select[Any] = select(column("version_num")).select_from(
        table(FORMER_VERSION_TABLE, schema=schema)
    )
    known = connection.execute(revisions).scalars().all()
    return len(known) == 1 and known[0] in _REVISIONS


def in_this_step(name: str) -> str:
    """What the migration that runs now calls one of our tables, or an index of it."""
    return _former(name) if op.get_context().version_table == FORMER_VERSION_TABLE else name


def move_version_table(connection: Connection) -> None:
    """Keep the revision of a former ledger where that of a new one is kept."""
    _rename(connection, FORMER_VERSION_TABLE, VERSION_TABLE)


def move_version_table_back(connection: Connection) -> None:
    _rename(connection, VERSION_TABLE, FORMER_VERSION_TABLE)


def rename_tables(connection: Connection) -> None:
    """Give the tables of a former ledger the names of now. Older programs find them under their old ones.

    PostgreSQL writes through simple views, ON CONFLICT and row locks included. SQLite does not: there older
    workers must have ended.

    Raises:
        MigrationRefused: they have not.
    """
    postgresql = connection.dialect.name == "postgresql"
    if not postgresql:
        refuse_older_workers(connection)
    for name, former in FORMER.items():
        _rename(connection, former, name)
    if postgresql:
        for name, former in {**FORMER, VERSION_TABLE: FORMER_VERSION_TABLE}.items():
            _make_view(connection, former, of=name)
    else:
        connection.exec_driver_sql(_SQLITE_VIEW)


def rename_tables_back(connection: Connection) -> None:
    """Give the tables their former names.

    Raises:
        MigrationRefused: the database has another table of such a name.
    """
    drop_views(connection)
    inspector = inspect(connection)
    for former in (*FORMER.values(), FORMER_VERSION_TABLE):
        if inspector.has_table(former, schema_of(connection)):
            raise table_of_others(former, f"the ledger's cannot be called as before revision {RENAMED}")
    for name, former in FORMER.items():
        _rename(connection, name, former)


def refuse_older_workers(connection: Connection) -> None:
    """Make sure that no worker lives beside a former ledger.

    Raises:
        MigrationRefused: with their names.
    """
    columns: list[ColumnClause[Any]] = [column("hostname"), column("stopped"), column("heartbeat", Instant)]
    workers = table(FORMER["background_workers"], *columns, schema=schema_of(connection))
    since = select(after(-_SILENCE.total_seconds())).scalar_subquery()
    living = select(workers.c.hostname).where(workers.c.stopped.is_(None), workers.c.heartbeat >= since)
    if found := connection.execute(living.order_by(workers.c.hostname)).scalars().all():
        raise MigrationRefused(
            f"{len(found)} workers of an older version live ({', '.join(found[:5])}), and cannot work with "
            "this step: stop workers and beats first; one that was killed counts for a minute"
        )


def table_of_others(name: str, consequence: str) -> MigrationRefused:
    """The error that says that a name is taken."""
    return MigrationRefused(f"the database has a table {name} that is not the ledger's: {consequence}")


def views(connection: Connection) -> list[str]:
    """The views that are left for older programs."""
    if connection.dialect.name == "sqlite":
        ours = text("SELECT name FROM sqlite_master WHERE type = 'view' AND sql = :mark").bindparams(
            mark=_SQLITE_VIEW
        )
    else:
        ours = text(
            "SELECT relname FROM pg_class WHERE relkind = 'v' AND obj_description(oid, 'pg_class') = :mark"
            " AND relnamespace = CAST(coalesce(:schema, current_schema()) AS regnamespace) ORDER BY relname"
        ).bindparams(mark=_MARK, schema=schema_of(connection))
    return list(connection.execute(ours).scalars())


def drop_views(connection: Connection) -> None:
    """Take away what only older programs need."""
    for name in views(connection):
        connection.exec_driver_sql(f"DROP VIEW {name}")


def _former(name: str) -> str:
    """The former name of a table, or of an index or a constraint that is called after its table."""
    for now, before in {**FORMER, VERSION_TABLE: FORMER_VERSION_TABLE}.items():
        if name == now or name.startswith(f"{now}_"):
            return before + name.removeprefix(now)
    return name


def _rename(connection: Connection, table: str, name: str) -> None:
    """Rename a table, and what is called after it: a name belongs to one index of a whole schema."""
    connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")
    if connection.dialect.name == "sqlite":
        for index, made in connection.execute(_SQLITE_INDEXES, {"table": name}).all():
            connection.exec_driver_sql(f"DROP INDEX {index}")
            connection.exec_driver_sql(made.replace(index, name + index.removeprefix(table), 1))
        return
    for found, change in ((_CONSTRAINTS, f"ALTER TABLE {name} RENAME CONSTRAINT"), (_INDEXES, "ALTER INDEX")):
        for called in connection.execute(found, {"table": name, "former": f"{table}_"}).scalars().all():
            to = "TO " if change.endswith("CONSTRAINT") else "RENAME TO "
            connection.exec_driver_sql(f"{change} {called} {to}{name}{called.removeprefix(table)}")


#: Those of a unique constraint have no text and are renamed with the table.
_SQLITE_INDEXES = text(
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :table AND sql IS NOT NULL"
)

_CONSTRAINTS = text(
    "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:table) AND starts_with(conname, :former)"
)

_INDEXES = text(
    "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid"
    " WHERE indrelid = to_regclass(:table) AND starts_with(relname, :former)"
)


def _make_view(connection: Connection, name: str, *, of: str) -> None:
    """Show a table under another name to those who may use it."""
    connection.exec_driver_sql(f"CREATE VIEW {name} AS TABLE {of}")
    connection.exec_driver_sql(f"COMMENT ON VIEW {name} IS '{_MARK}'")
    for grant in connection.execute(_GRANTS, {"table": of, "view": name}).scalars().all():
        connection.exec_driver_sql(grant)


_GRANTS = text("""
    SELECT format('GRANT %s ON %s TO %s', privilege_type, CAST(:view AS text),
                  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
    FROM pg_class, aclexplode(relacl)
    WHERE oid = to_regclass(:table) AND grantee <> relowner
        AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
""")
