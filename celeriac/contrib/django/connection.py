"""Django's own connection, for the ledger's statements: they go through Django's cursor.

SQLAlchemy builds the statements, and Django executes them, in its own transaction and under its own rules: a
transaction that is broken refuses, and errors are Django's. An engine on Django's connection itself would
roll back at its first use, set autocommit, and register a JSON loader that breaks Django's JSONField.
"""

from __future__ import annotations

import sqlite3
import time
from types import SimpleNamespace
from typing import Any, cast

from django.db import connections
from sqlalchemy import Engine, NullPool, make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection

from celeriac.ledger.connection.framework import JOINED

#: What the dialect is told about the server: the oldest one that the ledger lives in.
_POSTGRESQL = (14,)


def engine_on(alias: str) -> Engine:
    """An engine whose connections are Django's own one of ``alias``, in the thread that asks for it."""
    dialect = _dialect(connections[alias].vendor)
    pool = NullPool(lambda: cast(DBAPIConnection, _UncommittingConnection(alias)), reset_on_return=None)
    # Not create_engine: it lets the dialect set up each connection.
    url = make_url(f"{dialect.name}://")
    return Engine(pool, dialect, url, hide_parameters=True, execution_options={JOINED: True})


def prepare(connection: Any) -> None:
    """Give an SQLite connection the ledger's clock; when it is made, since later SQLite may refuse it."""
    if connection.vendor == "sqlite":
        connection.connection.create_function("clock_us", 0, lambda: time.time_ns() // 1000)


class _UncommittingConnection:
    """What SQLAlchemy takes for the driver's connection. Only Django ends its transactions."""

    def __init__(self, alias: str) -> None:
        self._django = connections[alias]

    def cursor(self) -> Any:
        return self._django.cursor()

    def commit(self) -> None:
        """Leave it to Django."""

    rollback = close = commit


class _NeverRaised(Exception):
    """What SQLAlchemy takes for the driver's error, so that Django's own errors reach the caller."""


def _dialect(vendor: str) -> Dialect:
    made: Any
    if vendor == "sqlite":
        made = SQLiteDialect(paramstyle="format")
        made.server_version_info, made.default_schema_name = sqlite3.sqlite_version_info, "main"
    else:
        from django.db.backends.postgresql.psycopg_any import is_psycopg3

        made = (PGDialect_psycopg if is_psycopg3 else PGDialect_psycopg2)(paramstyle="pyformat")
        made.server_version_info, made.default_schema_name = _POSTGRESQL, "public"
    found: Dialect = made
    made.dbapi = SimpleNamespace(
        Error=_NeverRaised, Binary=bytes, sqlite_version_info=sqlite3.sqlite_version_info
    )
    return found
