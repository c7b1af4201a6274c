"""Several statements of one transaction in one round trip. Each sees the rows as they are when it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.base import Executable

from celeriac.ledger.connection.compiled_statement import CompiledStatement
from celeriac.ledger.connection.database import Database, roll_back
from celeriac.ledger.connection.framework import is_joined
from celeriac.ledger.connection.pipeline import Command, Pipeline
from celeriac.ledger.connection.postgresql_session import ENDED_IDLE

#: A statement with its parameters. It must be the same object each time: it is compiled once.
Step = tuple[Executable | CompiledStatement, Mapping[str, Any]]


@dataclass(slots=True)
class _Trips:
    """A transaction that goes in trips.

    Attributes:
        begin: what goes before the first.
        is_open: whether a COMMIT is to come.
    """

    pipeline: Pipeline
    begin: Sequence[str]
    is_open: bool = False


#: Where these are kept, among the facts about a connection: the second as long as it lives.
_TRIPS, _PIPELINE = "trips", "pipeline"


@contextmanager
def transaction_of_trips(database: Database, *, idle: float) -> Iterator[Connection]:
    """As ``database.transaction``; its BEGIN goes with the first trip, and its COMMIT with one that says so.

    The first statement in the block must go by ``in_one_trip``.
    """
    if not are_possible(database):
        with database.transaction(idle=idle) as connection:
            yield connection
        return
    with database.statement() as connection:
        trips = _Trips(_pipeline_of(connection.connection, database), database.begin_texts(connection, idle))
        connection.info[_TRIPS] = trips
        try:
            yield connection
            if trips.is_open:
                connection.exec_driver_sql("COMMIT")
        except BaseException:  # whatever ends the block, the next user must not get its transaction
            if trips.is_open:
                roll_back(connection)
            raise
        finally:
            if not (connection.invalidated or connection.closed):
                connection.info.pop(_TRIPS, None)


def in_one_trip(connection: Connection, *steps: Step, commit: bool = False) -> list[Sequence[Any]]:
    """Execute ``steps`` in their order; return the rows of each.

    Elsewhere than in a ``transaction_of_trips`` they are executed one by one.

    Args:
        commit: whether this ends a ``transaction_of_trips``; of any other its owner decides.

    Raises:
        sqlalchemy.exc.DBAPIError: the first error; what comes after it was not executed.
    """
    trips: _Trips | None = connection.info.get(_TRIPS)
    if trips is None:
        return [_rows(connection.execute(_plain(each), dict(values))) for each, values in steps]
    commands: list[Command] = [] if trips.is_open else [*trips.begin]
    before = len(commands)
    commands += [(_compiled(each), values) for each, values in steps]
    if commit:
        commands.append("COMMIT")
    trips.is_open = True
    loaded = connection.dialect.loaded_dbapi
    try:
        rows = trips.pipeline.run(commands)
    except loaded.Error as exc:
        raise _as_of_sqlalchemy(exc, connection, loaded) from exc
    trips.is_open = not commit
    return rows[before : before + len(steps)]  # type: ignore[return-value]  # lists of sequences


def change(
    pooled: PoolProxiedConnection,
    database: Database,
    statement: CompiledStatement,
    values: Mapping[str, Any],
    *,
    meanwhile: Callable[[], object],
) -> int:
    """Execute one statement on a connection of ``database.driver``; return how many rows it changed.

    Args:
        meanwhile: called while the server works on it, if the driver can; it must neither raise nor wait.

    Raises:
        psycopg.Error: as the driver raises it.
    """
    if _PIPELINE in pooled.info or are_possible(database):
        return _pipeline_of(pooled, database).change(statement, values, meanwhile)
    changed = int(statement.run(pooled.driver_connection, values, schema=database.schema).rowcount)
    meanwhile()
    return changed


def are_possible(database: Database) -> bool:
    """Whether the driver can send several statements to this database at a time."""
    if database.dialect != "postgresql" or is_joined(database):
        return False  # a framework's own connection reads values in its own way
    return bool(database.errors.Pipeline.is_supported())


def _pipeline_of(pooled: PoolProxiedConnection, database: Database) -> Pipeline:
    info = pooled.info
    found: Pipeline | None = info.get(_PIPELINE)
    if found is None:
        prepares = database.prepares and not info.get("pooled")
        driver, errors = pooled.driver_connection, database.errors
        found = info[_PIPELINE] = Pipeline(driver, errors, schema=database.schema, prepares=prepares)
    return found


def _plain(statement: Executable | CompiledStatement) -> Executable:
    assert not isinstance(statement, CompiledStatement), "ask whether trips are possible"
    return statement


def _rows(result: Any) -> Sequence[Any]:
    return result.all() if result.returns_rows else []


@lru_cache
def _compiled(statement: Any) -> CompiledStatement:
    return statement if isinstance(statement, CompiledStatement) else CompiledStatement(statement)


def _as_of_sqlalchemy(error: Any, connection: Connection, loaded: Any) -> DBAPIError:
    """``error`` as SQLAlchemy would have raised it, so that callers know one kind of errors."""
    driver: Any = connection.connection.driver_connection
    lost = bool(driver.closed)
    if error.sqlstate == ENDED_IDLE:
        return OperationalError(None, None, error, hide_parameters=True, connection_invalidated=lost)
    found = DBAPIError.instance(
        None, None, error, loaded.Error, hide_parameters=True, connection_invalidated=lost
    )
    assert isinstance(found, DBAPIError)
    return found
