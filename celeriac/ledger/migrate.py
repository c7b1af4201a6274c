"""Migrate the database's tables to the revision that this version wants, and compare them with it.

Jobs go on meanwhile. On PostgreSQL each migration is a transaction of its own, which waits for a lock no
longer than ``online.LOCK_TIMEOUT``. While it waits, every statement of producers and workers waits behind
it. So it gives up, lets them pass and tries again. On SQLite all migrations are one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from celeriac import private_files
from celeriac.errors import LedgerTooNew, MigrationBlocked
from celeriac.ledger import online
from celeriac.ledger.connection.database import Database
from celeriac.ledger.revisions import OURS, Revisions, revision_state
from celeriac.ledger.schema.models import Base

#: Key of the advisory lock that lets only one process migrate at a time; any fixed number.
_LOCK = 5_320_640_517

_PATIENCE = 600.0  # seconds after which a migration gives up waiting for a lock
_PAUSE = 1.0  # seconds between two attempts, in which others get the lock

Notify = Callable[[str], object]


def upgrade(
    url: URL | str,
    *,
    post: bool = False,
    revisions: Revisions = OURS,
    notify: Notify = lambda sentence: None,
    patience: float = _PATIENCE,
) -> str:
    """Migrate the database to what this version wants; return its revision. Safe to run from many at once.

    Args:
        post: also make the steps that take away what only an older version needs.
        notify: called with a sentence whenever it must wait.
        patience: seconds in which the locks must be had.

    Raises:
        LedgerTooNew: a newer version made what is there.
        MigrationBlocked: somebody held a lock all the time.
    """
    target = revisions.head if post else revisions.wanted

    def move(config: Config, found: str | None) -> None:
        if found is None or revisions.known.index(found) < revisions.known.index(target):
            command.upgrade(config, target)

    return _migrate(url, move, revisions, notify, patience) or target


def downgrade(
    url: URL | str,
    *,
    revisions: Revisions = OURS,
    notify: Notify = lambda sentence: None,
    patience: float = _PATIENCE,
) -> str | None:
    """Take back the newest migration; return the revision that is left, None when nothing is.

    Raises:
        LedgerTooNew: a newer version made it, and only that one can take it back.
        MigrationBlocked: somebody held a lock all the time.
    """

    def move(config: Config, found: str | None) -> None:
        if found is not None:
            command.downgrade(config, "-1")

    return _migrate(url, move, revisions, notify, patience)


def current(database: Database) -> str | None:
    """The revision that the database is at; None before the first migration."""
    with database.reading() as connection:
        return revision_state(connection).revision


def wanted() -> str:
    """The oldest revision that this version works with."""
    return OURS.wanted


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
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [repr(difference) for difference in compare_metadata(context, Base.metadata)]


def require(database: Database, *, revisions: Revisions = OURS) -> str | None:
    """The revision of a ledger that is newer than this version and works with it; None for one of ours.

    Raises:
        MigrationNeeded: the ledger is older than this version wants.
        LedgerTooNew: a newer version made it so that this one does not work with it.
    """
    with database.reading() as connection:
        return revisions.require(revision_state(connection))


def _migrate(
    url: URL | str,
    move: Callable[[Config, str | None], None],
    revisions: Revisions,
    notify: Notify,
    patience: float,
) -> str | None:
    target = make_url(url)
    if target.get_backend_name() == "sqlite" and target.database:
        private_files.make_directory(Path(target.database).parent)
    with closing(Database(target, pool=2, patience=30)) as database:
        one = _in_one_transaction if database.dialect == "sqlite" else _one_by_one
        return one(database, move, revisions, notify, patience)


def _in_one_transaction(
    database: Database, move: Callable[[Config, str | None], None], revisions: Revisions, *_: object
) -> str | None:
    with database.transaction() as connection:
        move(revisions.config(connection), _known(connection, revisions))
        return revision_state(connection).revision


def _one_by_one(
    database: Database,
    move: Callable[[Config, str | None], None],
    revisions: Revisions,
    notify: Notify,
    patience: float,
) -> str | None:
    with _keep_others_out(database, notify):
        deadline = time.monotonic() + patience
        while True:
            try:
                with online.connected(database) as connection:
                    found = _known(connection, revisions)
                    connection.rollback()  # or Alembic would take it for a transaction of its caller
                    move(revisions.config(connection), found)
                return current(database)
            except OperationalError as exc:
                if not online.is_blocked(exc):
                    raise
                holders = online.holders(database)
                if time.monotonic() >= deadline:
                    raise MigrationBlocked(current(database), round(patience), holders) from exc
            notify(f"waits for a lock that is held by {holders}")
            time.sleep(_PAUSE)


def _known(connection: Connection, revisions: Revisions) -> str | None:
    found = revision_state(connection).revision
    if found is not None and found not in revisions.known:
        raise LedgerTooNew(found, revisions.wanted)
    return found


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
