"""Which rows hold their unique key, and which wait for other jobs' results, as conditions of statements.

They are spelled as the indexes spell them: SQLite only uses one whose words it meets again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, literal_column, or_

from celeriac.ledger.schema.columns import FOLLOWING
from celeriac.ledger.schema.models import JOBS


def holds_key(c: Any = JOBS.c) -> ColumnElement[bool]:
    """Whether a row holds its key: no other row of that key does then, a constraint ensures it.

    Args:
        c: the columns of the jobs, where the table has an alias.
    """
    return and_(c.unique_key.is_not(None), c.finished.is_(None), _while(c))


def wants_key(c: Any = JOBS.c) -> ColumnElement[bool]:
    """Whether a row that has ended would hold its key, if it were brought back."""
    return and_(c.unique_key.is_not(None), _while(c))


def _while(c: Any) -> ColumnElement[bool]:
    waiting = and_(c.unique_while == literal_column("'waiting'"), c.last_worker_id.is_(None))
    return or_(c.unique_while == literal_column("'active'"), waiting)


def follows_unfinished(c: Any = JOBS.c) -> ColumnElement[bool]:
    """Whether a row follows a job and has not ended."""
    return and_(c.follows.is_not(None), c.finished.is_(None))


def waits_to_follow(c: Any = JOBS.c) -> ColumnElement[bool]:
    """Whether such a row still waits for that job, or for the decision about its key."""
    return and_(follows_unfinished(c), c.next_attempt_after == FOLLOWING, c.dispatched.is_(None))
