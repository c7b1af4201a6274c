"""Rows of values as one SQL relation, so that a batch costs one statement of constant text.

The rows travel as one JSON text. psycopg would take several times as long to convert an array.
A statement's text must not depend on the size of the batch: PostgreSQL would prepare it anew for every size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, JSON, ColumnElement, FromClause, Text, bindparam, cast, column, func, select
from sqlalchemy.types import TypeEngine, UserDefinedType

from celeriac.ledger.schema.columns import microseconds

Columns = Mapping[str, TypeEngine[Any]]


def as_table(dialect: str, columns: Columns, *, name: str = "batch") -> FromClause:
    """A table of ``columns`` for use in a statement; ``table_parameters`` has its rows at execution."""
    if dialect == "postgresql":
        rows = func.json_to_recordset(cast(bindparam(name, type_=Text()), JSON()))
        fields = [column(key, kind) for key, kind in columns.items()]
        return rows.table_valued(*fields).render_derived(name=name, with_types=True)
    each = func.json_each(bindparam(name)).table_valued("value", name=f"{name}_each")
    picked = [
        func.json_extract(each.c.value, f"$.{key}", type_=kind).label(key) for key, kind in columns.items()
    ]
    return select(*picked).subquery(name)


def table_parameters(
    dialect: str, columns: Columns, rows: Sequence[Mapping[str, Any]], *, name: str = "batch"
) -> dict[str, Any]:
    """The parameters that fill ``as_table`` with ``rows``."""
    written = [{key: _written(dialect, row[key]) for key in columns} for row in rows]
    return {name: json.dumps(written, check_circular=False)}


def id_in(dialect: str, expression: ColumnElement[UUID], *, name: str = "ids") -> ColumnElement[bool]:
    """Whether ``expression`` is one of the ids that ``id_parameters`` has at execution."""
    if dialect == "postgresql":
        return expression == func.any(bindparam(name, type_=_Uuids()))
    each = func.json_each(bindparam(name)).table_valued("value", name=f"{name}_each")
    return expression.in_(select(each.c.value))


def id_parameters(dialect: str, wanted: Sequence[UUID], *, name: str = "ids") -> dict[str, Any]:
    """The parameters of ``id_in``."""
    if dialect == "postgresql":
        return {name: "{" + ",".join([job.hex for job in wanted]) + "}"}
    return {name: json.dumps([job.hex for job in wanted])}


def text_in(dialect: str, expression: ColumnElement[Any], *, name: str = "texts") -> ColumnElement[bool]:
    """Whether ``expression`` is one of the texts that ``text_parameters`` has at execution."""
    if dialect == "postgresql":
        return expression == func.any(bindparam(name, type_=ARRAY(Text)))
    each = func.json_each(bindparam(name)).table_valued("value", name=f"{name}_each")
    return expression.in_(select(each.c.value))


def text_parameters(dialect: str, wanted: Sequence[str], *, name: str = "texts") -> dict[str, Any]:
    """The parameters of ``text_in``."""
    return {name: list(wanted) if dialect == "postgresql" else json.dumps(list(wanted))}


class _Uuids(UserDefinedType[str]):
    """An array of UUIDs, sent as text. The server reads it once; a cast would be computed for every row."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        return "UUID[]"


def _written(dialect: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat() if dialect == "postgresql" else microseconds(value)
    if not isinstance(value, UUID):
        return value
    return value.hex  # PostgreSQL reads it as well; with hyphens it takes Python twice as long
