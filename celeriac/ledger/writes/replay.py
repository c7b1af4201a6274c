"""Replay: set a dead letter or a cancelled job back to pending, with new tries and its history."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

from sqlalchemy import Connection, Update, and_, case, literal, null, update

from celeriac.headers import CHORD
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import PARKED, Instant, now
from celeriac.ledger.schema.lifecycle import GIVEN_UP, JobState
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import may_enter

#: Tries of a job that is never given up; the largest number that the column holds.
ENDLESS = 2**31 - 1


def replay(connection: Connection, ids: Sequence[UUID], *, dead_only: bool = False) -> set[UUID]:
    """Set failed and cancelled jobs back to pending, due now; return those that were.

    The attempt number goes on, so that a late outcome of an old attempt is still refused. The body of a chord
    that never got the results of its members is parked: it waits for them again.

    Args:
        dead_only: leave cancelled jobs as they are.
    """
    dialect = connection.dialect.name
    return {
        row.id for row in connection.execute(_replay(dialect, dead_only), batch.id_parameters(dialect, ids))
    }


@lru_cache
def _replay(dialect: str, dead_only: bool) -> Update:
    tries = JOBS.c.max_tries - JOBS.c.tries_before
    waits = and_(JOBS.c.headers[CHORD].as_string().is_not(None), JOBS.c.try_count == 0)
    again = may_enter(JobState.PENDING, of={JobState.FAILED} if dead_only else GIVEN_UP, by_id=True)
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(in_order(batch.id_in(dialect, JOBS.c.id), again)))
        .values(
            state=JobState.PENDING,
            max_tries=case((tries > ENDLESS - JOBS.c.try_count, ENDLESS), else_=tries + JOBS.c.try_count),
            tries_before=JOBS.c.try_count,
            next_attempt_after=case((waits, literal(PARKED, Instant)), else_=now()),
            dispatched=null(),
            held=null(),
            finished=null(),
            expires=null(),
            cancel_requested=null(),
            unknown_since=null(),
        )
        .returning(JOBS.c.id)
    )
