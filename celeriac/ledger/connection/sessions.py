"""A caller's own SQLAlchemy session: check that it uses the ledger's database, and prepare its connection."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TypeGuard
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, Text, cast, extract, func, select, text
from sqlalchemy.dialects.postgresql import OID

from celeriac.errors import AnotherDatabase, BadArgument
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.schema_name import naming, qualified

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: By a caller's engine and the ledger's address.
_same: WeakKeyDictionary[Engine, dict[tuple[URL, str | None], bool]] = WeakKeyDictionary()


def plain(session: Any) -> Any:
    """The current session, where ``session`` is a scoped_session, as Flask-SQLAlchemy's is."""
    # Recognized by its registry: to import async_scoped_session is slow.
    return session() if callable(session) and hasattr(session, "registry") else session


def is_session(value: Any) -> TypeGuard[Session]:
    """Whether it is a ``Session`` of SQLAlchemy.

    The ORM is not imported for it: that costs a worker time and memory, and who has a Session has done so.
    """
    orm = sys.modules.get("sqlalchemy.orm")
    return orm is not None and isinstance(value, orm.Session)


def refuse_no_session(session: Any) -> None:
    """Refuse what cannot be written with in a plain call.

    Raises:
        BadArgument: it is an ``AsyncSession``, or no session of SQLAlchemy.
    """
    if is_session(session):
        return
    if hasattr(session, "run_sync"):
        raise BadArgument("session", "an AsyncSession wants `async with enqueue_in(session):`")
    raise BadArgument(
        "session",
        f"wanted a session of SQLAlchemy, found {type(session).__name__}; with Django none is needed: "
        "inside of transaction.atomic() a plain call is enough",
    )


def connection_of(session: Session, database: Database) -> Connection:
    """The connection of ``session``'s transaction, on which the ledger's statements may run.

    Raises:
        BadArgument: it is none that can be written with.
        AnotherDatabase: the session speaks to another database than the ledger.
    """
    refuse_no_session(session)
    connection = session.connection()
    if getattr(connection.connection.driver_connection, "autocommit", False) is True:
        raise BadArgument("session", "it is in autocommit: there is no transaction to be part of")
    engine, address = connection.engine, (database.url, database.schema)
    known = _same.setdefault(engine, {})
    if address not in known:
        with database.reading() as own:
            known[address] = _identity(connection, database.schema) == _identity(own, database.schema)
    if not known[address]:
        raise AnotherDatabase(engine.url.render_as_string(hide_password=True))
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.dbapi_connection
        driver.create_function("clock_us", 0, lambda: time.time_ns() // 1000)
    return naming(connection, database.schema)


def _identity(connection: Connection, schema: str | None) -> Any:
    """A value that is the same for the same database, however its address is spelled."""
    if connection.dialect.name == "sqlite":
        # One in memory has no name, and no other connection has it.
        return connection.execute(text("PRAGMA database_list")).all()[0][2] or object()
    if connection.dialect.name != "postgresql":
        return None
    found = cast(func.to_regclass(qualified("background_jobs", schema)), OID)
    # As a number: a moment is read as each connection is set up for it, by Django without a zone.
    started = cast(extract("epoch", func.pg_postmaster_start_time()), Text)
    named = select(func.current_database(), started, found)
    return tuple(connection.execute(named).one())
