"""In which schema of PostgreSQL the ledger's tables are.

Each statement names the schema. A session's ``search_path`` would be another client's too behind PgBouncer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Connection

_OPTION = "schema_translate_map"


def options(schema: str | None) -> dict[str, Any]:
    """SQLAlchemy's execution options by which statements name the schema; none without one."""
    return {_OPTION: {None: schema}} if schema else {}


def compile_options(schema: str | None) -> dict[str, Any]:
    """The same for ``statement.compile()``."""
    return {_OPTION: {None: schema}, "render_schema_translate": True} if schema else {}


def schema_of(connection: Connection) -> str | None:
    """The schema that statements on ``connection`` name; None: they name none."""
    chosen: Mapping[str | None, str] | None = connection.get_execution_options().get(_OPTION)
    return (chosen or {}).get(None)


def qualified(name: str, schema: str | None) -> str:
    """The name of a table in text.

    >>> qualified("background_jobs", "shop"), qualified("background_jobs", None)
    ('"shop".background_jobs', 'background_jobs')
    """
    return f'"{schema}".{name}' if schema else name


def local_search_path(schema: str) -> str:
    """A statement by which all others of its transaction mean the tables of ``schema``."""
    return f'SET LOCAL search_path = "{schema}"'


def naming(connection: Connection, schema: str | None) -> Connection:
    """``connection``, with the schema in each statement. It is a caller's: his own must stay as they are."""
    return cast(Connection, _Naming(connection, schema)) if schema else connection


class _Naming:
    """A connection whose options SQLAlchemy would otherwise change for everybody who uses it."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._options = options(schema)

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        chosen = {**(execution_options or {}), **self._options}
        return self._connection.execute(statement, parameters, execution_options=chosen)

    def execution_options(self, **chosen: Any) -> _Naming:
        self._connection.execution_options(**chosen)
        return self

    def get_execution_options(self) -> Mapping[str, Any]:
        return {**self._connection.get_execution_options(), **self._options}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
