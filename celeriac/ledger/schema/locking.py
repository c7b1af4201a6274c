"""Lock many rows so that two statements can never deadlock: in the order of their ids, or without waiting."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnClause, ColumnElement, FromClause, Select, column, select, true

from celeriac.ledger.schema.models import JOBS

#: Where PostgreSQL keeps a row's present version (postgresql.org/docs/current/ddl-system-columns.html).
_PLACE: ColumnClause[Any] = column("ctid")
_PLACE.table = JOBS


def in_order(*conditions: Any, skip: bool = False) -> Select[Any]:
    """A SELECT of the ids that fulfil ``conditions``, which locks the rows in id order; for ``id IN (…)``.

    Args:
        skip: leave out rows that another transaction has locked, instead of waiting for them.
    """
    chosen = select(JOBS.c.id).where(*conditions).order_by(JOBS.c.id)
    return chosen.with_for_update(skip_locked=skip, key_share=True)


def is_locked_by(dialect: str, waiting: Select[Any]) -> ColumnElement[bool]:
    """Whether a job is one of those that ``in_order`` has locked in the same statement.

    PostgreSQL goes to the row's place, and does not search for its key a second time. A row that somebody has
    written since the statement began is at another place: it is left out, as if it were locked.
    """
    if dialect != "postgresql":
        return JOBS.c.id.in_(waiting)
    placed = waiting.add_columns(_PLACE.label("place")).subquery("locked")
    return placed.c.place == _PLACE


def found_for(dialect: str, given: FromClause, condition: ColumnElement[bool], *, name: str) -> FromClause:
    """The rows of a batch for which there is a job that fulfils ``condition``; the jobs are locked.

    A job that another transaction has locked is left out. PostgreSQL searches by the key, once for each row
    of the batch: a lateral subquery that locks cannot be planned otherwise. In a plain join it compared each
    row of the batch with each job, which was most of the work from a hundred rows on.

    Args:
        given: what ``batch.as_table`` returns, with a column ``id``.
        condition: of a job and a row of ``given``. It names the job by ``given.c.id``.
    """
    if dialect != "postgresql":
        return select(*given.c).where(condition).subquery(name)
    row = select(JOBS.c.id).where(condition).with_for_update(skip_locked=True, key_share=True)
    each = row.correlate(given).lateral(f"{name}_row")
    return select(*given.c).select_from(given.join(each, true())).subquery(name)
