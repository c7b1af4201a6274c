"""Decide about a row that was written before anybody knew whether it may have its key."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, and_, bindparam, null, select, update

from celeriac.headers import DUE, UNIQUE
from celeriac.ledger.schema.columns import FOLLOWING, Instant, now
from celeriac.ledger.schema.lifecycle import WAITING, AttemptKind, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting, may_enter
from celeriac.ledger.writes.new_jobs import COPIED, IN_LINE, NewJob
from celeriac.ledger.writes.unique.holders import Holder, holders, jobs_of, unless_taken, waiting_at_most
from celeriac.ledger.writes.unique.periods import Wanted, take_periods
from celeriac.ledger.writes.unique.replacing import Compose, replace_messages
from celeriac.limits.permits import Permit
from celeriac.limits.unique import OnConflict, While
from celeriac.limits.unique_key import UniqueCall, read

#: Looks for the holder of a key that comes and goes; then the next sweep tries again.
_TRIES = 5


def decide(connection: Connection, job: UUID, compose: Compose, *, patience: float) -> str | None:
    """Let the undecided row ``job`` take its key, or follow who has it; return what became of it.

    Returns:
        ``holds``, ``follows``, ``cancelled`` (its rule says that a duplicate is refused); None: nothing yet.

    Raises:
        KeyBusy: a transaction has the key and did not end in time: roll back.
    """
    row = connection.execute(_lock(), {"job": job}).first()
    if row is None:
        return None
    call = read(row.headers.get(UNIQUE))
    if call is None:  # nobody knows what it wants: it runs
        _let_run(connection, row, None)
        return "holds"
    with waiting_at_most(connection, patience, [call.key]):
        for _ in range(_TRIES):
            holder = _holder(connection, row.id, call)
            if holder is None and _let_run(connection, row, call):
                return "holds"
            if holder is not None and (became := _stand_back(connection, row, call, holder, compose)):
                return became
    return None


def _holder(connection: Connection, job: UUID, call: UniqueCall) -> Holder | None:
    """Who else has the key; None: nobody seems to, or this job has it for a time now."""
    if call.rule.while_ is not While.PERIOD:
        return holders(connection, [call.key]).get(call.key)
    whose = take_periods(connection, [Wanted(call.key, job, call.rule.period)]).get(call.key)
    return None if whose in (None, job) else jobs_of(connection, [whose]).get(whose)


def _stand_back(
    connection: Connection, row: Any, call: UniqueCall, holder: Holder, compose: Compose
) -> str | None:
    conflict = call.rule.on_conflict
    if conflict is OnConflict.REJECT:
        connection.execute(_reject(), {"job": row.id, "why": _why(holder)})
        return "cancelled"
    own = _as_new_job(row, call)
    if conflict is OnConflict.REPLACE and holder.waits and not _is_older(row, holder):
        calls = {holder.id: own}
        if holder.id not in replace_messages(connection, calls, compose, called=row.queued):
            return None  # it began to run
    following = own.following(holder.id, holder.task_id)
    values = {"job": row.id, "to_follow": holder.id, "to_headers": _without(following.headers)}
    connection.execute(_follow(), values)
    return "follows"


def _is_older(row: Any, holder: Holder) -> bool:
    """Whether the holder says what a later call said, of which nobody had to decide."""
    return holder.called is not None and bool(row.queued < holder.called)


def _why(holder: Holder) -> str:
    return f"{AttemptKind.CANCELLED}: rejected, job {holder.task_id} has its unique key"


def _let_run(connection: Connection, row: Any, call: UniqueCall | None) -> bool:
    """Give the row its key and its due time; False: another one has the key by now."""
    values = {
        "job": row.id,
        "to_key": call.key if call else None,
        "to_while": str(call.rule.while_) if call else None,
        "to_moment": _due(row),
        "to_headers": _without(row.headers),
    }
    return unless_taken(connection, lambda: connection.execute(_hold(), values))


def _due(row: Any) -> datetime:
    """When the call is due, as it has said."""
    delay, moment = row.headers.get(DUE) or (0.0, None)
    if moment is not None:
        return datetime.fromisoformat(moment)
    due: datetime = row.queued + timedelta(seconds=delay)
    return due


def _without(headers: Any) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if name != DUE}


def _as_new_job(row: Any, call: UniqueCall) -> NewJob:
    """The call that the row stands for."""
    job = NewJob(
        **{name: getattr(row, name) for name in COPIED},
        not_before=_due(row),
        expires=row.expires,
        permits=_permits(row),
    )
    return replace(job, unique=call, headers=_without(row.headers), payload=bytes(row.payload))


def _permits(row: Any) -> tuple[Permit, ...]:
    found = [(getattr(row, f"permit_{n}"), getattr(row, f"weight_{n}")) for n in (1, 2, 3)]
    return tuple(Permit(name, weight) for name, weight in found if name is not None)


def _open(job: Any) -> Any:
    c = JOBS.c
    return and_(c.id == job, c.follows == c.id, c.next_attempt_after == FOLLOWING, c.dispatched.is_(None))


def _job() -> Any:
    return bindparam("job", type_=JOBS.c.id.type)


@lru_cache
def _lock() -> Select[Any]:
    return select(JOBS).where(_open(_job()), is_waiting(by_id=True)).with_for_update(skip_locked=True)


@lru_cache
def _hold() -> Update:
    c = JOBS.c
    return (
        update(JOBS)
        .where(c.id == _job())
        .values(
            unique_key=bindparam("to_key", type_=c.unique_key.type),
            unique_while=bindparam("to_while", type_=c.unique_while.type),
            follows=null(),
            headers=bindparam("to_headers", type_=c.headers.type),
            next_attempt_after=bindparam("to_moment", type_=Instant),
        )
    )


@lru_cache
def _follow() -> Update:
    c = JOBS.c
    empty: dict[str, Any] = dict.fromkeys(IN_LINE, null())
    return (
        update(JOBS)
        .where(c.id == _job())
        .values(
            follows=bindparam("to_follow", type_=c.follows.type),
            headers=bindparam("to_headers", type_=c.headers.type),
            turn=null(),
            **empty,
        )
    )


@lru_cache
def _reject() -> Update:
    c = JOBS.c
    return (
        update(JOBS)
        .where(c.id == _job(), may_enter(JobState.CANCELLED, of=WAITING, by_id=True))
        .values(
            state=JobState.CANCELLED,
            finished=now(),
            dispatched=now(),
            failure_info=bindparam("why", type_=c.failure_info.type),
        )
    )
