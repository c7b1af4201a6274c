"""What became of jobs that were replayed, as far as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, exists, select

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES, JOBS


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The first attempt of each job after its replay; what is in neither has not ended.

    Attributes:
        succeeded: it returned.
        failed: it did not, whether another attempt follows or not.
        gone: the job was cancelled or discarded meanwhile; nothing is known of it.
    """

    succeeded: frozenset[UUID]
    failed: frozenset[UUID]
    gone: frozenset[UUID]


def verdicts(connection: Connection, ids: Sequence[UUID]) -> Verdicts:
    """How the first attempts of ``ids`` since their replay ended."""
    dialect = connection.dialect.name
    rows = list(connection.execute(_outcomes(dialect), batch.id_parameters(dialect, ids)))
    failed = frozenset(row.id for row in rows if row.failed or row.state == JobState.FAILED)
    succeeded = frozenset(row.id for row in rows if row.state == JobState.COMPLETED) - failed
    cancelled = frozenset(row.id for row in rows if row.state == JobState.CANCELLED) - failed
    return Verdicts(succeeded, failed, cancelled | (frozenset(ids) - {row.id for row in rows}))


@lru_cache
def _outcomes(dialect: str) -> Select[Any]:
    first = exists().where(FAILURES.c.job_id == JOBS.c.id, FAILURES.c.attempt > JOBS.c.tries_before)
    chosen = select(JOBS.c.id, JOBS.c.state, first.label("failed"))
    return chosen.where(batch.id_in(dialect, JOBS.c.id))
