"""Record completed attempts and claim delivered jobs in one statement, a worker's most frequent write."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import cast, null, select, union_all

from celeriac.ledger.connection.compiled_statement import CompiledStatement
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import is_of_values
from celeriac.ledger.connection.framework import is_joined
from celeriac.ledger.partitions import known
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.claims import Claimed, claim, claim_statement, claimed_by_id
from celeriac.ledger.writes.outcomes import (
    Outcome,
    complete_parameters,
    complete_statement,
    completed_states,
    record,
)

_DIALECT = "postgresql"


def complete_and_claim(
    database: Database, completed: Sequence[Outcome], ids: Sequence[UUID], *, worker: UUID
) -> tuple[dict[UUID, JobState], dict[UUID, Claimed]]:
    """Record the attempts that were ``completed`` and claim the jobs ``ids``, in a transaction of its own.

    Returns:
        What ``outcomes.record`` and ``claims.claim`` return.

    Raises:
        ConnectionError, sqlalchemy.exc.SQLAlchemyError: the database was lost; everything or nothing is done.
    """
    if database.dialect != _DIALECT or is_joined(database):
        with database.transaction() as connection:
            accepted = record(connection, completed, worker=worker) if completed else {}
            return accepted, claim(connection, ids, worker=worker) if ids else {}
    if not (completed or ids):
        return {}, {}
    made, values = step(completed, ids, worker=worker)
    every = [*ids, *(outcome.id for outcome in completed)]
    partition = known.partition_of(database, min(every), max(every))
    try:
        with database.driver() as pooled:
            given: dict[str, Any] = {"schema": database.schema, "partition": partition}
            rows = made.run(pooled.driver_connection, values, **given).fetchall()
    except database.errors.Error as exc:
        if partition is not None:  # was it dropped meanwhile?
            known.forget(database)
        if is_of_values(exc):
            raise
        raise ConnectionError(str(exc)) from exc
    return read(rows, bool(completed), bool(ids))


def step(
    completed: Sequence[Outcome], ids: Sequence[UUID], *, worker: UUID
) -> tuple[CompiledStatement, dict[str, Any]]:
    """The statement, with its parameters; ``read`` reads its rows."""
    values: dict[str, Any] = {"worker": worker}
    if completed:
        values |= complete_parameters(_DIALECT, completed, worker)
    if ids:
        values |= batch.id_parameters(_DIALECT, ids)
    return statement(bool(completed), bool(ids)), values


def read(rows: Sequence[Any], completed: bool, ids: bool) -> tuple[dict[UUID, JobState], dict[UUID, Claimed]]:
    """What ``complete_and_claim`` returns."""
    if not (completed and ids):
        return completed_states(rows if completed else ()), claimed_by_id(rows if ids else ())
    return completed_states(row for row in rows if row[1] is None), claimed_by_id(
        row for row in rows if row[1] is not None
    )


@lru_cache
def statement(completes: bool, claims: bool) -> CompiledStatement:
    """Its two updates see the rows as they were before it, so that no job is in both."""
    if not completes:
        return CompiledStatement(claim_statement(_DIALECT))
    if not claims:
        return CompiledStatement(complete_statement(_DIALECT))
    done, mine = complete_statement(_DIALECT).cte("done"), claim_statement(_DIALECT).cte("mine")
    nothing = [cast(null(), column.type) for column in list(mine.c)[1:]]
    return CompiledStatement(union_all(select(done.c.id, *nothing), select(*mine.c)))
