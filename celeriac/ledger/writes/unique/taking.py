"""Write unique jobs: each takes its key, or the job that has it is the answer. The constraint decides.

A key is never looked up before it is taken. Who wants one that an open transaction has written waits for its
end, for a bounded time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select

from celeriac.errors import DuplicateJob, KeyBusy
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.bulk_insert import enqueue_all, first_of_each
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.unique.holders import Holder, holders, jobs_of, key_busy, waiting_at_most
from celeriac.ledger.writes.unique.periods import Wanted, take_periods
from celeriac.ledger.writes.unique.replacing import Compose, replace_messages
from celeriac.limits.unique import OnConflict, While


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRules:
    """How calls are met whose key another job has.

    Attributes:
        patience: seconds to wait for a transaction that has written the key.
        refuses: whether a call may be refused. Not while Celery sends what follows an attempt: such a job is
            written undecided, and a keeper cancels it.
        compose: makes a waiting job's message say what a later call says.
        lent: whether the transaction is somebody else's.
        noted: called for each call whose key another job has, with its task and what becomes of it.
    """

    patience: float
    refuses: bool
    compose: Compose
    lent: bool = False
    noted: Callable[[str, OnConflict], object] = lambda task, conflict: None


@dataclass(slots=True)
class Taken:
    """What became of calls.

    Attributes:
        fresh: jobs whose rows are new, as they were written.
        known: calls whose own ids have rows already.
        kept: the job that is the answer to a call without a row of its own, by the id that it would have had.
    """

    fresh: list[NewJob] = field(default_factory=list)
    known: list[NewJob] = field(default_factory=list)
    kept: dict[UUID, Holder] = field(default_factory=dict)


def take(connection: Connection, jobs: Sequence[NewJob], rules: KeyRules) -> Taken:
    """Write ``jobs``, all of them unique, in the order of their keys.

    Raises:
        DuplicateJob: a call is to be refused; nothing of the transaction may stay.
        KeyBusy: a transaction has one of the keys, and did not end in time.
    """
    taken = Taken()
    if not jobs:
        return taken
    left = _by_key(first_of_each(jobs))
    ends = time.monotonic() + rules.patience
    with waiting_at_most(connection, rules.patience, list(left), lent=rules.lent):
        while left:
            left = _round(connection, left, rules, taken)
            if left and time.monotonic() > ends:  # its holders come and go faster than one can look
                raise key_busy(list(left), rules.patience)
    return taken


def take_or_postpone(connection: Connection, jobs: Sequence[NewJob], rules: KeyRules) -> Taken:
    """As ``take``, for writers that hold other locks: what would wait too long is written undecided."""
    if not jobs:
        return Taken()
    connection.exec_driver_sql("SAVEPOINT celeriac_keys")
    try:
        found = take(connection, jobs, rules)
    except KeyBusy:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT celeriac_keys")
        new = enqueue_all(connection, jobs)
        found = Taken(known=[job for job in jobs if job.id not in new])
    connection.exec_driver_sql("RELEASE SAVEPOINT celeriac_keys")
    return found


def _by_key(jobs: Sequence[NewJob]) -> dict[str, list[NewJob]]:
    """The calls by their keys, these in order; the calls of a key as they were made."""
    found: dict[str, list[NewJob]] = {}
    for job in jobs:
        found.setdefault(_call(job).key, []).append(job)
    return dict(sorted(found.items()))


def _call(job: NewJob) -> Any:
    assert job.unique is not None
    return job.unique


def _round(
    connection: Connection, left: dict[str, list[NewJob]], rules: KeyRules, taken: Taken
) -> dict[str, list[NewJob]]:
    """Write the first call of each key, and decide about the others; return what must be tried again."""
    firsts = {key: calls[0] for key, calls in left.items()}
    have = _period_holders(connection, firsts)
    wanting = [job.holding() for key, job in firsts.items() if key not in have]
    new = enqueue_all(connection, wanting)
    taken.fresh += [job for job in wanting if job.id in new]
    known = _known(connection, [job.id for job in wanting if job.id not in new])
    taken.known += [job for job in firsts.values() if job.id in known]
    lost = [_call(job).key for job in wanting if job.id not in new and job.id not in known]
    have |= holders(connection, lost) if lost else {}
    have |= {key: _own(job) for key, job in firsts.items() if job.id in new}
    duplicates = {
        key: (have[key], [job for job in calls if job.id not in new and job.id not in known])
        for key, calls in left.items()
        if key in have
    }
    again = {key: calls[1:] for key, calls in left.items() if firsts[key].id in known and calls[1:]}
    again |= {key: left[key] for key in lost if key not in have}
    again |= _decide(connection, duplicates, rules, taken)
    return dict(sorted(again.items()))


def _own(job: NewJob) -> Holder:
    return Holder(job.id, str(job.headers["id"]), waits=True)


def _period_holders(connection: Connection, firsts: dict[str, NewJob]) -> dict[str, Holder]:
    """The other jobs that have these keys for a time; each key that is not among them is the call's now."""
    calls = {key: job for key, job in firsts.items() if _call(job).rule.while_ is While.PERIOD}
    whose: dict[str, UUID] = {}
    while missing := [key for key in calls if key not in whose]:  # one that was pruned meanwhile is free
        wanted = [Wanted(key, calls[key].id, _call(calls[key]).rule.period) for key in missing]
        whose |= take_periods(connection, wanted)
    others = {key: job for key, job in whose.items() if job != calls[key].id}
    found = jobs_of(connection, list(others.values())) if others else {}
    return {key: found[job] for key, job in others.items() if job in found}


def _decide(
    connection: Connection,
    duplicates: dict[str, tuple[Holder, list[NewJob]]],
    rules: KeyRules,
    taken: Taken,
) -> dict[str, list[NewJob]]:
    """Meet calls whose key another job has; return those whose holder began to run before it was met."""
    replacing: dict[UUID, NewJob] = {}
    for key, (holder, calls) in duplicates.items():
        for job in calls:
            conflict = _call(job).rule.on_conflict
            if conflict is OnConflict.REJECT and (rules.refuses or not _call(job).promised):
                rules.noted(job.job_type, conflict)
                raise DuplicateJob(key, holder.task_id)
            if conflict is OnConflict.REPLACE and holder.waits:
                replacing[holder.id] = job  # the last one's word holds
    replaced = replace_messages(connection, replacing, rules.compose)
    again: dict[str, list[NewJob]] = {}
    following: list[NewJob] = []
    for key, (holder, calls) in duplicates.items():
        if holder.id in replacing and holder.id not in replaced:
            again[key] = calls
            continue
        for job in calls:
            conflict = _call(job).rule.on_conflict
            if conflict is OnConflict.REJECT:
                following.append(job.undecided())
                continue
            rules.noted(job.job_type, conflict if holder.id in replaced else OnConflict.KEEP)
            if _call(job).promised:
                following.append(job.following(holder.id, holder.task_id))
            else:
                taken.kept[job.id] = holder
    if following:
        new = enqueue_all(connection, following)
        taken.fresh += [job for job in following if job.id in new]
        taken.known += [job for job in following if job.id not in new]
    return again


def _known(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of ``ids`` have rows."""
    if not ids:
        return set()
    dialect = connection.dialect.name
    return set(connection.execute(_rows_of(dialect), batch.id_parameters(dialect, ids)).scalars())


@lru_cache
def _rows_of(dialect: str) -> Select[Any]:
    return select(JOBS.c.id).where(batch.id_in(dialect, JOBS.c.id))
