"""Replay: set a dead letter or a cancelled job back to pending, with new tries and its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, and_, case, literal, null, update
from sqlalchemy.exc import IntegrityError

from celeriac.errors import KeyBusy
from celeriac.headers import CHORD
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import FOLLOWING, PARKED, Instant, now
from celeriac.ledger.schema.lifecycle import GIVEN_UP, JobState
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import may_enter
from celeriac.ledger.schema.unique_rows import wants_key
from celeriac.ledger.writes.unique.holders import holders, waiting_at_most

#: Seconds that a replay waits for a transaction that has one of the keys.
_PATIENCE = 1.0

#: Tries of a job that is never given up; the largest number that the column holds.
ENDLESS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class KeptBack:
    """A job that was not replayed, because its unique key is not free.

    Attributes:
        holder: the Celery task id of the job that has it; None: of a transaction that has not ended.
    """

    key: str
    holder: str | None

    @property
    def sentence(self) -> str:
        """Why, for people."""
        who = f"job {self.holder} has" if self.holder else "a transaction that has not ended has"
        return f"{who} its unique key {self.key}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of jobs that were to be replayed; those that are in neither did not wait for it."""

    jobs: set[UUID] = field(default_factory=set)
    kept_back: dict[UUID, KeptBack] = field(default_factory=dict)


def replay(connection: Connection, ids: Sequence[UUID], *, dead_only: bool = False) -> set[UUID]:
    """Set failed and cancelled jobs back to pending, due now; return those that were: see ``replay_free``."""
    return replay_free(connection, ids, dead_only=dead_only).jobs


def replay_free(connection: Connection, ids: Sequence[UUID], *, dead_only: bool = False) -> Replayed:
    """Set failed and cancelled jobs back to pending, due now, unless another job has their unique key.

    The attempt number goes on, so that a late outcome of an old attempt is still refused. The body of a chord
    that never got the results of its members is parked: it waits for them again. So does a job that follows
    another one.

    Args:
        dead_only: leave cancelled jobs as they are.
    """
    found = Replayed()
    wanted = _wanted_keys(connection, ids, dead_only=dead_only)
    if wanted:
        _keep_back(connection, wanted, found)
    left = [job for job in ids if job not in found.kept_back]
    if not wanted:
        found.jobs.update(_write(connection, left, dead_only))
    elif not _try(connection, left, wanted, dead_only, found) and len(left) > 1:
        for job in sorted(left):  # a key was taken meanwhile: the others are replayed all the same
            _try(connection, [job], wanted, dead_only, found)
    return found


def _wanted_keys(connection: Connection, ids: Sequence[UUID], *, dead_only: bool) -> dict[UUID, str]:
    """The keys that replayed jobs would hold; their rows are locked, in the order of their ids."""
    dialect = connection.dialect.name
    rows = connection.execute(_keys(dialect, dead_only), batch.id_parameters(dialect, ids))
    return {row.id: row.unique_key for row in rows}


def _keep_back(connection: Connection, wanted: Mapping[UUID, str], found: Replayed) -> None:
    """Note the jobs whose keys are held; of those with the same one, all but the first."""
    held = holders(connection, list(dict.fromkeys(wanted.values())))
    has = {key: holder.task_id for key, holder in held.items()}
    for job, key in wanted.items():
        if key in has:
            found.kept_back[job] = KeptBack(key, has[key])
        else:
            has[key] = str(job)


def _try(
    connection: Connection, ids: Sequence[UUID], wanted: Mapping[UUID, str], dead_only: bool, found: Replayed
) -> bool:
    """Replay ``ids``, if none of their keys was taken meanwhile; one that is alone is kept back then."""
    keys = [wanted[job] for job in ids if job in wanted]
    done: set[UUID] = set()
    connection.exec_driver_sql("SAVEPOINT celeriac_replay")
    try:
        with waiting_at_most(connection, _PATIENCE, keys):
            done = _write(connection, ids, dead_only)
    except (IntegrityError, KeyBusy):
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT celeriac_replay")
        if len(ids) == 1:
            holder = holders(connection, keys).get(keys[0])
            found.kept_back[ids[0]] = KeptBack(keys[0], holder.task_id if holder else None)
    connection.exec_driver_sql("RELEASE SAVEPOINT celeriac_replay")
    found.jobs.update(done)
    return bool(done) or not ids


def _write(connection: Connection, ids: Sequence[UUID], dead_only: bool) -> set[UUID]:
    dialect = connection.dialect.name
    rows = connection.execute(_replay(dialect, dead_only), batch.id_parameters(dialect, ids))
    return set(rows.scalars())


def _states(dead_only: bool) -> frozenset[JobState]:
    return frozenset({JobState.FAILED}) if dead_only else GIVEN_UP


@lru_cache
def _keys(dialect: str, dead_only: bool) -> Select[Any]:
    wants = (
        batch.id_in(dialect, JOBS.c.id),
        may_enter(JobState.PENDING, of=_states(dead_only), by_id=True),
        wants_key(),
    )
    return in_order(*wants).add_columns(JOBS.c.unique_key)


@lru_cache
def _replay(dialect: str, dead_only: bool) -> Update:
    tries = JOBS.c.max_tries - JOBS.c.tries_before
    follows = JOBS.c.follows.is_not(None)
    waits = and_(JOBS.c.headers[CHORD].as_string().is_not(None), JOBS.c.try_count == 0)
    again = may_enter(JobState.PENDING, of=_states(dead_only), by_id=True)
    later = case((waits, literal(PARKED, Instant)), (follows, literal(FOLLOWING, Instant)), else_=now())
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(in_order(batch.id_in(dialect, JOBS.c.id), again)))
        .values(
            state=JobState.PENDING,
            max_tries=case((tries > ENDLESS - JOBS.c.try_count, ENDLESS), else_=tries + JOBS.c.try_count),
            tries_before=JOBS.c.try_count,
            next_attempt_after=later,
            dispatched=null(),
            held=null(),
            finished=null(),
            expires=null(),
            cancel_requested=null(),
            unknown_since=null(),
        )
        .returning(JOBS.c.id)
    )
