"""Prune: delete old terminal rows in small batches, so that no lock is held for long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Connection,
    Delete,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    not_,
    select,
    union,
    update,
)

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.schema.columns import Seconds, after, evaluated_once
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.ledger.schema.models import FAILURES, JOBS, LOST, WORKER_TASKS, WORKERS
from celeriac.ledger.schema.operator_tables import ACTIONS
from celeriac.ledger.schema.state_conditions import is_in
from celeriac.ledger.upkeep.parked import is_waited_for


def prune(
    connection: Connection,
    state: JobState,
    *,
    age: float,
    limit: int,
    task: str | None = None,
    but: Sequence[str] = (),
) -> int:
    """Delete up to ``limit`` jobs that ended in ``state`` more than ``age`` seconds ago; return how many.

    The members of a chord whose body still waits for their results stay.

    Args:
        task: only jobs of this task.
        but: leave out jobs of these tasks, which have an age of their own.
    """
    if state not in TERMINAL:
        raise ValueError(f"only terminal jobs are pruned, found {state}")
    parameters: dict[str, Any] = {"ended": str(state), "age": -age, "most": limit}
    if task is not None:
        parameters["only"] = task
    if but:
        parameters["but"] = list(but)
    statement = _prune(connection.dialect.name, task is not None, bool(but))
    return connection.execute(statement, parameters).rowcount


def forget_results(connection: Connection, *, age: float, limit: int) -> int:
    """Drop the results of up to ``limit`` jobs that completed more than ``age`` seconds ago."""
    return connection.execute(_forget(), {"age": -age, "most": limit}).rowcount


def is_late(connection: Connection, *, age: float, but: Sequence[str] = ()) -> bool:
    """Whether a completed or cancelled job that ended more than ``age`` seconds ago is still there.

    Args:
        but: leave out jobs of these tasks, which have an age of their own.
    """
    # PostgreSQL would expect a third of all rows before a moment that is computed inside the statement, and
    # read the table for the first of them.
    cutoff = clock(connection) - timedelta(seconds=age)
    query = select(JOBS.c.id).where(
        is_in(JobState.COMPLETED, JobState.CANCELLED),
        JOBS.c.queued < cutoff,
        JOBS.c.finished < cutoff,
        JOBS.c.job_type.not_in(list(but)),
    )
    return connection.execute(query.limit(1)).first() is not None


def prune_workers(connection: Connection, *, age: float) -> int:
    """Delete the rows of workers that ended more than ``age`` seconds ago.

    Jobs and attempts name their workers: the row of one that is still named stays. A worker claims nothing
    after its end, so only jobs that are older than that are looked at. These are few, if ``age`` is the
    longest time that jobs are kept.
    """
    pruned = connection.execute(_prune_workers(), {"age": -age}).rowcount
    if pruned:
        of_nobody = ~exists().where(WORKERS.c.tasks == WORKER_TASKS.c.tasks)
        connection.execute(delete(WORKER_TASKS).where(of_nobody))
    return pruned


def prune_actions(connection: Connection, *, age: float, limit: int) -> int:
    """Delete up to ``limit`` records of what operators did more than ``age`` seconds ago."""
    cutoff = evaluated_once(after(bindparam("age", type_=Seconds)))
    old = select(ACTIONS.c.id).where(ACTIONS.c.began < cutoff, ACTIONS.c.touched < cutoff)
    chosen = old.order_by(ACTIONS.c.began).limit(bindparam("most"))
    return connection.execute(
        delete(ACTIONS).where(ACTIONS.c.id.in_(chosen)), {"age": -age, "most": limit}
    ).rowcount


@lru_cache
def _prune_workers() -> Delete:
    cutoff = evaluated_once(after(bindparam("age", type_=Seconds)))
    holds = exists().where(JOBS.c.worker_id == WORKERS.c.id)  # only a rescue may end that
    old = JOBS.c.queued < cutoff
    had = select(JOBS.c.last_worker_id).where(old, JOBS.c.last_worker_id.is_not(None))
    of_old = FAILURES.join(JOBS, FAILURES.c.job_id == JOBS.c.id)
    tried = select(FAILURES.c.worker_id).select_from(of_old).where(old, FAILURES.c.worker_id.is_not(None))
    named = union(had, tried)  # read once; a condition on each worker would read it for each
    return delete(WORKERS).where(WORKERS.c.stopped < cutoff, ~holds, WORKERS.c.id.not_in(named))


@lru_cache
def _prune(dialect: str, one_task: bool, but: bool) -> Delete:
    cutoff = evaluated_once(after(bindparam("age", type_=Seconds)))
    # A job is queued before it ends: the condition on queued is implied, and makes the index usable.
    conditions = [is_in(bindparam("ended")), JOBS.c.queued < cutoff, JOBS.c.finished < cutoff]
    conditions.append(not_(is_waited_for(dialect)))
    if one_task:
        conditions.append(JOBS.c.job_type == bindparam("only"))
    if but:
        conditions.append(JOBS.c.job_type.not_in(bindparam("but", expanding=True)))
    chosen = (
        select(JOBS.c.id)
        .where(and_(*conditions))
        .order_by(JOBS.c.queued)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
    return delete(JOBS).where(JOBS.c.id.in_(chosen))


@lru_cache
def _forget() -> Update:
    cutoff = evaluated_once(after(bindparam("age", type_=Seconds)))
    chosen = (
        select(JOBS.c.id)
        .where(
            is_in(JobState.COMPLETED), JOBS.c.queued < cutoff, JOBS.c.finished < cutoff, JOBS.c.result != LOST
        )
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
    return update(JOBS).where(JOBS.c.id.in_(chosen)).values(result=LOST)
