"""Rows of values as one SQL relation, so that a batch costs one statement of constant text.

``unnest`` on PostgreSQL, ``json_each`` on SQLite. A statement's text must not depend on the size
of the batch: it would be prepared anew for every size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Uuid, bindparam, cast, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

Columns = Mapping[str, TypeEngine[Any]]


def relation(dialect: str, columns: Columns, *, name: str = "batch") -> FromClause:
    """A relation of ``columns`` whose rows are given at execution by ``values``."""
    if dialect == "postgresql":
        arrays = [
            cast(bindparam(f"{name}_{key}", type_=ARRAY(kind)), ARRAY(kind)) for key, kind in columns.items()
        ]
        return (
            func.unnest(*arrays)
            .table_valued(*[column(k, t) for k, t in columns.items()])
            .render_derived(name=name)
        )
    each = func.json_each(bindparam(name)).table_valued("value", name=f"{name}_each")
    picked = [
        func.json_extract(each.c.value, f"$[{position}]", type_=kind).label(key)
        for position, (key, kind) in enumerate(columns.items())
    ]
    return select(*picked).subquery(name)


def values(
    dialect: str, columns: Columns, rows: Sequence[Mapping[str, Any]], *, name: str = "batch"
) -> dict[str, Any]:
    """The parameters that fill ``relation`` with ``rows``."""
    if dialect == "postgresql":
        return {f"{name}_{key}": [row[key] for row in rows] for key in columns}
    return {name: json.dumps([[_sqlite(row[key]) for key in columns] for row in rows])}


def among(dialect: str, expression: ColumnElement[UUID], *, name: str = "ids") -> ColumnElement[bool]:
    """Whether ``expression`` is one of the ids given at execution by ``ids``."""
    if dialect == "postgresql":
        return expression == func.any(bindparam(name, type_=ARRAY(Uuid())))
    each = func.json_each(bindparam(name)).table_valued("value", name=f"{name}_each")
    return expression.in_(select(each.c.value))


def ids(dialect: str, wanted: Sequence[UUID], *, name: str = "ids") -> dict[str, Any]:
    """The parameters of ``among``."""
    if dialect == "postgresql":
        return {name: list(wanted)}
    return {name: json.dumps([job.hex for job in wanted])}


def _sqlite(value: Any) -> Any:
    return value.hex if isinstance(value, UUID) else value
