"""Migrate the database's tables to the revision that this version wants, and compare them with it.

Jobs go on meanwhile. On PostgreSQL each migration is a transaction of its own, which waits for a lock no
longer than ``online.LOCK_TIMEOUT``. While it waits, every statement of producers and workers waits behind
it. So it gives up, lets them pass and tries again. On SQLite all migrations are one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, func, inspect, select, table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, ProgrammingError

from celeriac import private_files
from celeriac.errors import LedgerTooNew, MigrationBlocked, MigrationRefused
from celeriac.ledger import former_names, online
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.schema_name import local_search_path, schema_of
from celeriac.ledger.days.divide import UNIQUE, divide_if_empty
from celeriac.ledger.former_names import LAST_FORMER, RENAMED, VERSION_TABLE
from celeriac.ledger.partitions.layout import is_divided
from celeriac.ledger.revisions import OURS, Revisions, RevisionState, revision_state
from celeriac.ledger.schema.metadata import METADATA

#: Key of the advisory lock that lets only one process migrate at a time; any fixed number.
_LOCK = 5_320_640_517

_PATIENCE = 600.0  # seconds after which a migration gives up waiting for a lock
_PAUSE = 1.0  # seconds between two attempts, in which others get the lock

Notify = Callable[[str], object]
_Move = Callable[[Connection, RevisionState], None]


def upgrade(
    url: URL | str,
    *,
    post: bool = False,
    schema: str | None = None,
    to: str | None = None,
    by_day: bool = False,
    revisions: Revisions = OURS,
    notify: Notify = lambda sentence: None,
    patience: float = _PATIENCE,
) -> str:
    """Migrate the database to what this version wants; return its revision. Safe to run from many at once.

    Args:
        post: also make the steps that take away what only an older version needs.
        schema: of PostgreSQL, in which the tables are; it is made when there is none.
        to: the revision to stop at, in place of what this version wants.
        by_day: of PostgreSQL, divide the jobs' table by days, if nothing was ever written to it.
        notify: called with a sentence whenever it must wait.
        patience: seconds in which the locks must be had.

    Raises:
        LedgerTooNew: a newer version made what is there.
        MigrationBlocked: somebody held a lock all the time.
        MigrationRefused: a table of the application's has a name of ours; older workers live that could not
            work with what is to come.
    """
    target = to or (revisions.head if post else revisions.wanted)
    move = _upwards(target, revisions, post=post, by_day=by_day and to is None)
    return _migrate(url, move, revisions, notify, patience, schema=schema) or target


def _upwards(target: str, revisions: Revisions, *, post: bool = False, by_day: bool = False) -> _Move:
    def move(connection: Connection, found: RevisionState) -> None:
        if found.revision is None:
            _refuse_tables_of_others(connection)
        if found.former and revisions.is_before(LAST_FORMER, target):
            _leave_former_names(connection, revisions, found, post=post)
            found = revision_state(connection)
            _end(connection)
        if revisions.is_before(found.revision, target):
            command.upgrade(revisions.config(connection, version_table=found.version_table), target)
        if post:
            with _as_one(connection):
                former_names.drop_views(connection)
        if by_day:
            with _as_one(connection):
                divide_if_empty(connection)

    return move


def downgrade(
    url: URL | str,
    *,
    schema: str | None = None,
    revisions: Revisions = OURS,
    notify: Notify = lambda sentence: None,
    patience: float = _PATIENCE,
) -> str | None:
    """Take back the newest migration; return the revision that is left, None when nothing is.

    Raises:
        LedgerTooNew: a newer version made it, and only that one can take it back.
        MigrationBlocked: somebody held a lock all the time.
        MigrationRefused: the application has a table of the name that one of ours had before.
    """
    return _migrate(url, _downwards(revisions), revisions, notify, patience, schema=schema)


def _downwards(revisions: Revisions) -> _Move:
    def move(connection: Connection, found: RevisionState) -> None:
        if found.revision == RENAMED:
            with _as_one(connection):
                command.downgrade(revisions.config(connection), "-1")
                former_names.move_version_table_back(connection)
        elif found.revision is not None:
            command.downgrade(revisions.config(connection, version_table=found.version_table), "-1")
            with _as_one(connection):
                _drop_if_empty(connection, found.version_table)

    return move


def upgrade_within(connection: Connection, target: str, *, revisions: Revisions = OURS) -> None:
    """Migrate in the transaction that ``connection`` is in; nothing commits, if its commit does nothing.

    For a database that nobody uses yet, or that only this connection can see: others wait for the locks until
    the transaction ends, and indexes are made with their tables locked.

    Raises:
        LedgerTooNew, MigrationRefused: as ``upgrade``.
    """
    _upwards(target, revisions)(online.within(connection), _known(connection, revisions))


def downgrade_within(connection: Connection, *, to: str | None = None, revisions: Revisions = OURS) -> None:
    """Take back all migrations after ``to`` in the transaction that ``connection`` is in; None: all of them.

    Raises:
        LedgerTooNew, MigrationRefused: as ``downgrade``.
    """
    move = _downwards(revisions)
    while (found := _known(connection, revisions)).revision != to:
        move(online.within(connection), found)


def current(database: Database) -> str | None:
    """The revision that the database is at; None before the first migration."""
    with database.reading() as connection:
        return revision_state(connection).revision


def serves_older(database: Database) -> bool:
    """Whether the ledger has views, made by its upgrade, by which programs of before 0011 work with it."""
    with database.reading() as connection:
        return bool(former_names.views(connection))


def wanted() -> str:
    """The oldest revision that this version works with."""
    return OURS.wanted


def former() -> tuple[str, ...]:
    """The revisions at which the tables have names that this version does not use."""
    return tuple(revision for revision in OURS.known if OURS.is_before(revision, RENAMED))


def first() -> str:
    """The oldest revision."""
    return OURS.known[0]


def head() -> str:
    """The newest revision that this version knows."""
    return OURS.head


def check(database: Database) -> list[str]:
    """What differs between the database's tables and the models; empty when nothing does.

    Raises:
        MigrationNeeded: the ledger is older than this version wants.
        LedgerTooNew: a newer version made it.
    """
    if (newer := require(database)) is not None:
        raise LedgerTooNew(newer, wanted())
    with database.transaction() as connection:
        if database.schema:
            connection.exec_driver_sql(local_search_path(database.schema))
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "version_table": VERSION_TABLE,
                "include_name": _is_ours,
                "include_object": _is_of_both_forms if is_divided(connection) else None,
            },
        )
        return [repr(difference) for difference in compare_metadata(context, METADATA)]


def require(database: Database, *, revisions: Revisions = OURS) -> str | None:
    """The revision of a ledger that is newer than this version and works with it; None for one of ours.

    Raises:
        MigrationNeeded: the ledger is older than this version wants.
        LedgerTooNew: a newer version made it so that this one does not work with it.
    """
    with database.reading() as connection:
        return revisions.require(revision_state(connection))


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    """Whether to compare it: the tables of the application are not ours to judge."""
    return kind != "table" or name in METADATA.tables


def _is_of_both_forms(thing: Any, name: str | None, kind: str, *_: object) -> bool:
    """Whether to compare it in a ledger that is divided by days.

    There a table holds the unique keys in place of an index, and PostgreSQL lists a foreign key for each
    partition.
    """
    if kind == "foreign_key_constraint":
        return all(element.target_fullname.split(".")[-2] in METADATA.tables for element in thing.elements)
    return name != UNIQUE


def _migrate(
    url: URL | str,
    move: _Move,
    revisions: Revisions,
    notify: Notify,
    patience: float,
    *,
    schema: str | None,
) -> str | None:
    target = make_url(url)
    if target.get_backend_name() == "sqlite" and target.database:
        private_files.make_directory(Path(target.database).parent)
    with closing(Database(target, schema, pool=2, patience=30)) as database:
        one = _in_one_transaction if database.dialect == "sqlite" else _one_by_one
        return one(database, move, revisions, notify, patience)


def _in_one_transaction(database: Database, move: _Move, revisions: Revisions, *_: object) -> str | None:
    with database.transaction() as connection:
        move(connection, _known(connection, revisions))
        return revision_state(connection).revision


def _one_by_one(
    database: Database,
    move: _Move,
    revisions: Revisions,
    notify: Notify,
    patience: float,
) -> str | None:
    with _keep_others_out(database, notify):
        _make_schema(database)
        deadline = time.monotonic() + patience
        while True:
            try:
                with online.connected(database) as connection:
                    found = _known(connection, revisions)
                    _end(connection)
                    move(connection, found)
                return current(database)
            except OperationalError as exc:
                if not online.is_blocked(exc):
                    raise
                holders = online.holders(database)
                if time.monotonic() >= deadline:
                    raise MigrationBlocked(current(database), round(patience), holders) from exc
            notify(f"waits for a lock that is held by {holders}")
            time.sleep(_PAUSE)


def _make_schema(database: Database) -> None:
    """Make the ledger's schema where there is none.

    Raises:
        MigrationRefused: this role may not.
    """
    if database.schema is None:
        return
    with database.statement() as connection:
        found = connection.execute(select(func.to_regnamespace(database.schema))).scalar()
        if found is None:
            try:
                connection.exec_driver_sql(f'CREATE SCHEMA "{database.schema}"')
            except ProgrammingError as exc:
                raise MigrationRefused(
                    f"there is no schema {database.schema}, and it could not be made "
                    f"({str(exc.orig).splitlines()[0]}): "
                    f"CREATE SCHEMA {database.schema} AUTHORIZATION {database.url.username}"
                ) from None


def _known(connection: Connection, revisions: Revisions) -> RevisionState:
    found = revision_state(connection)
    if found.revision is not None and found.revision not in revisions.known:
        raise LedgerTooNew(found.revision, revisions.wanted)
    return found


def _leave_former_names(
    connection: Connection, revisions: Revisions, found: RevisionState, *, post: bool
) -> None:
    """Bring a former ledger to revision 0011. All its tables are renamed at once, the version table, too."""
    if post:  # the views by which they work are not even made
        former_names.refuse_older_workers(connection)
        _end(connection)
    if found.revision != LAST_FORMER:
        command.upgrade(revisions.config(connection, version_table=found.version_table), LAST_FORMER)
    with _as_one(connection):
        former_names.move_version_table(connection)
        command.upgrade(revisions.config(connection, renames=True), RENAMED)


def _refuse_tables_of_others(connection: Connection) -> None:
    inspector = inspect(connection)
    for name in METADATA.tables:
        if inspector.has_table(name, schema_of(connection)):
            raise former_names.table_of_others(name, f"no revision of ours is in {VERSION_TABLE}")
    _end(connection)


def _drop_if_empty(connection: Connection, version_table: str) -> None:
    """Drop the version table when nothing of the ledger is left."""
    left = select(func.count()).select_from(table(version_table, schema=schema_of(connection)))
    if connection.execute(left).scalar_one() == 0:
        connection.exec_driver_sql(f"DROP TABLE {version_table}")


def _as_one(connection: Connection) -> AbstractContextManager[object]:
    """One transaction: the one that is open, which is SQLite's for everything, or else one of its own."""
    return nullcontext() if connection.in_transaction() else connection.begin()


def _end(connection: Connection) -> None:
    """End a transaction that only read, or Alembic would take it for one of its caller. Not SQLite's."""
    if connection.dialect.name != "sqlite":
        connection.rollback()


@contextmanager
def _keep_others_out(database: Database, notify: Notify) -> Iterator[None]:
    """Let only one process migrate.

    The lock is held by a transaction without a snapshot, because CREATE INDEX CONCURRENTLY waits until every
    older snapshot is gone. For the same reason no process may wait for this lock inside a transaction.
    """
    waits = False
    while True:
        with database.transaction() as guard:
            if guard.execute(select(func.pg_try_advisory_xact_lock(_LOCK))).scalar_one():
                # This also closes the result of that statement, which holds a snapshot until then.
                guard.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield
                return
        if not waits:
            notify("waits for another process that migrates")
        waits = True
        time.sleep(0.1)
