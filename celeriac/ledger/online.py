"""Change tables that are in use, on PostgreSQL, without making others wait for long.

Migrations use ``create_index`` and ``drop_index`` in place of Alembic's. These commit at once, so a migration
that makes indexes must do nothing else, and must be repeatable from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError

from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.schema_name import local_search_path, qualified, schema_of

#: Option of a connection: its transaction is a caller's, and no migration may end it.
_WITHIN = "celeriac_within"

#: How long a statement may wait for its lock, and everybody else behind it. ``.delay()`` has two seconds.
LOCK_TIMEOUT = "500ms"

_BLOCKED = frozenset({"55P03", "40P01"})  # lock_not_available, deadlock_detected

_HOLDERS = """
    SELECT DISTINCT a.pid, a.application_name, a.state, extract(epoch FROM now() - a.xact_start)::int AS age
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.relation = ANY(ARRAY(
            SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')
                AND relnamespace = CAST(coalesce(:schema, current_schema()) AS regnamespace)))
        AND a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
    ORDER BY age DESC LIMIT 3
"""


@contextmanager
def connected(database: Database) -> Iterator[Connection]:
    """A connection whose transactions wait for locks only for a moment."""
    with database.engine.connect() as plain:
        connection = plain.execution_options(isolation_level="READ COMMITTED")  # ours are in autocommit
        event.listen(connection, "begin", _bound)
        yield connection
        connection.commit()


def within(connection: Connection) -> Connection:
    """``connection``, marked so that migrations stay in the transaction that it is in."""
    return connection.execution_options(**{_WITHIN: True})


def create_index(
    name: str,
    table: str,
    columns: Sequence[str | sa.TextClause],
    *,
    where: str | None = None,
    unique: bool = False,
) -> None:
    """Make an index while others write; one that is there and valid is kept."""
    rows = None if where is None else sa.text(where)
    made: dict[str, Any] = {"postgresql_where": rows, "unique": unique}
    if not _may_be_online():
        op.create_index(name, table, columns, sqlite_where=rows, **made)
        return
    if parts := _partitions(op.get_bind(), table):
        _create_on_each(name, table, parts, columns, unique=unique, where=where)
        return
    with _outside_of_a_transaction():
        if _invalid(op.get_bind(), name):  # what an interrupted one left behind
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, if_not_exists=True, **made)


def drop_index(name: str, table: str) -> None:
    """Remove an index while others write."""
    if not _may_be_online() or _partitions(op.get_bind(), table):  # which takes a lock, for a moment
        op.drop_index(name, table_name=table, if_exists=_may_be_online())
        return
    with _outside_of_a_transaction():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)


def _partitions(connection: Connection, table: str) -> list[str]:
    """The partitions of ``table``; none of one that has none."""
    found = text("""
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(:name) ORDER BY c.relname
    """)
    return list(connection.execute(found, {"name": qualified(table, schema_of(connection))}).scalars())


def _create_on_each(
    name: str,
    table: str,
    partitions: Sequence[str],
    columns: Sequence[str | sa.TextClause],
    *,
    unique: bool,
    where: str | None,
) -> None:
    """Make an index of a table of partitions: of each while others write, then of all."""
    if unique:
        raise ValueError(f"{name}: no unique index over partitions; keys have a table of their own")
    listed = ", ".join(str(column) for column in columns)
    rows = f" WHERE {where}" if where else ""
    with _outside_of_a_transaction():
        connection = op.get_bind()
        schema = schema_of(connection)
        whole = qualified(name, schema)
        op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON ONLY {qualified(table, schema)} ({listed}){rows}")
        for part in partitions:
            # cut to the length of a name by a number, which is the same at each try
            own = f"{name}_{part.removeprefix(table).strip('_')}"
            if _invalid(connection, own):
                op.execute(f"DROP INDEX CONCURRENTLY {qualified(own, schema)}")
            of_part = qualified(part, schema)
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {own} ON {of_part} ({listed}){rows}")
            op.execute(f"ALTER INDEX {whole} ATTACH PARTITION {qualified(own, schema)}")


def _may_be_online() -> bool:
    """Whether a statement may be made outside of a transaction."""
    connection = op.get_bind()
    return connection.dialect.name != "sqlite" and not connection.get_execution_options().get(_WITHIN)


def is_blocked(error: OperationalError) -> bool:
    """Whether a lock was not free in time."""
    return getattr(error.orig, "sqlstate", None) in _BLOCKED


def holders(database: Database) -> str:
    """The transactions that hold locks on the ledger's tables, the oldest first, as a sentence."""
    with database.reading() as connection:
        found = connection.execute(text(_HOLDERS), {"schema": database.schema}).all()
    found_holders = [
        f"pid {row.pid} ({row.application_name or 'unnamed'}, {row.state}, {row.age} s)" for row in found
    ]
    return ", ".join(found_holders) or "somebody who is gone by now"


def _bound(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if not driver.autocommit:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        if schema := schema_of(connection):  # not every operation of Alembic's names it
            connection.exec_driver_sql(local_search_path(schema))


@contextmanager
def _outside_of_a_transaction() -> Iterator[None]:
    """As a concurrent index wants it. It blocks nobody and may take hours: no bound may cut it short."""
    with op.get_context().autocommit_block():
        for bound in ("lock_timeout", "statement_timeout"):
            if op.get_bind().exec_driver_sql(f"SHOW {bound}").scalar_one() != "0":
                op.execute(f"SET {bound} = 0")
        yield


def _invalid(connection: Connection, name: str) -> bool:
    found = text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    return bool(connection.execute(found, {"name": qualified(name, schema_of(connection))}).scalar())
