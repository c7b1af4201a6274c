"""What a worker does all day: record what was completed and claim what came, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import cast, null, select, union_all

from celeriac.ledger.connection.compiled_statement import Straight
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import is_of_values
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.claims import Claimed, claim, claiming, won
from celeriac.ledger.writes.outcomes import Outcome, completing, completions, record, recorded

_DIALECT = "postgresql"


def exchange(
    database: Database, completed: Sequence[Outcome], ids: Sequence[UUID], *, worker: UUID
) -> tuple[dict[UUID, JobState], dict[UUID, Claimed]]:
    """Record the attempts that were ``completed`` and claim the jobs ``ids``, in a transaction of its own.

    Returns:
        What ``outcomes.record`` and ``claims.claim`` return.

    Raises:
        ConnectionError, sqlalchemy.exc.SQLAlchemyError: the database was lost; it may all have been done.
    """
    if database.dialect != _DIALECT:
        with database.transaction() as connection:
            accepted = record(connection, completed, worker=worker) if completed else {}
            return accepted, claim(connection, ids, worker=worker) if ids else {}
    if not (completed or ids):
        return {}, {}
    values: dict[str, Any] = {"worker": worker}
    if completed:
        values |= completions(_DIALECT, completed, worker)
    if ids:
        values |= batch.ids(_DIALECT, ids)
    try:
        with database.driver() as pooled:
            rows = _statement(bool(completed), bool(ids)).run(pooled.driver_connection, values).fetchall()
    except database.errors.Error as exc:
        if is_of_values(exc):
            raise
        raise ConnectionError(str(exc)) from exc
    if not (completed and ids):
        return recorded(rows if completed else ()), won(rows if ids else ())
    return recorded(row for row in rows if row[1] is None), won(row for row in rows if row[1] is not None)


@lru_cache
def _statement(completes: bool, claims: bool) -> Straight:
    """Two updates of one statement see the same rows as they were before: no job is in both."""
    if not completes:
        return Straight(claiming(_DIALECT))
    if not claims:
        return Straight(completing(_DIALECT))
    done, mine = completing(_DIALECT).cte("done"), claiming(_DIALECT).cte("mine")
    nothing = [cast(null(), column.type) for column in list(mine.c)[1:]]
    return Straight(union_all(select(done.c.id, *nothing), select(*mine.c)))
