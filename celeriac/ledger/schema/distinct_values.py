"""The distinct values of an indexed column, each found by one search, however many rows have it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, ColumnElement, literal, select


def distinct_values(
    column: ColumnElement[Any], *rows: ColumnElement[bool], beyond: Any = None, most: int | None = None
) -> CTE:
    """The values, ascending, in the column ``value``. Where they end before ``most``, the last row is null.

    PostgreSQL has no loose index scan (wiki.postgresql.org/wiki/Loose_indexscan): the recursion makes one.

    Args:
        rows: conditions of the index, where it is partial.
        beyond: only values that come after this one.
        most: values at most.
    """

    def following(before: Any) -> Any:
        after = [] if before is None else [column > before]
        found = select(column).where(column.is_not(None), *rows, *after)
        return found.order_by(column).limit(1).scalar_subquery()

    first = select(following(beyond).label("value"), literal(1).label("number"))
    walk = first.cte(f"each_{column.key}", recursive=True)
    goes_on = [walk.c.value.is_not(None), *([] if most is None else [walk.c.number < most])]
    return walk.union_all(select(following(walk.c.value), walk.c.number + 1).where(*goes_on))
