"""Give a job that waits the message of a later call, in place of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, Select, Update, and_, bindparam, case, func, null, update

from celeriac.headers import CALLED
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import FOLLOWING, Seconds, later, now
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_waiting
from celeriac.ledger.writes.new_jobs import (
    IN_LINE,
    NewJob,
    columns,
    message_columns,
    more_values,
    parameters,
)


@dataclass(frozen=True, slots=True)
class Replaceable:
    """A waiting job's message, whose row is locked."""

    id: UUID
    payload: bytes
    content_type: str
    content_encoding: str
    headers: dict[str, Any]


#: Makes the message of a waiting job say what a later call says; id and successors are the waiting job's.
Compose: TypeAlias = Callable[[Replaceable, NewJob], NewJob]


def replace_messages(
    connection: Connection,
    calls: Mapping[UUID, NewJob],
    compose: Compose,
    *,
    called: datetime | None = None,
) -> set[UUID]:
    """Let waiting jobs run what later calls say; return those that waited still.

    The message that may be in the broker is an old copy then: who draws it runs what the row says.

    Args:
        calls: by the job whose message each replaces.
        called: when these were made; None: now.
    """
    if not calls:
        return set()
    dialect = connection.dialect.name
    rows = connection.execute(_lock(dialect), batch.id_parameters(dialect, list(calls))).all()
    found = [(Replaceable(*row), called or moment) for *row, moment in rows]
    composed = [(row.id, compose(row, calls[row.id]), moment) for row, moment in found]
    values = [_values(_made_at(moment, job)) | {"job": id} for id, job, moment in composed]
    if values:
        connection.execute(_replace(), values)
    return {row.id for row, _ in found}


def _made_at(moment: datetime, job: NewJob) -> NewJob:
    """For who decides later about an earlier call: that one's arguments do not come back."""
    return replace(job, headers={**job.headers, CALLED: moment.isoformat()})


def _values(job: NewJob) -> dict[str, Any]:
    more = more_values(job)
    most = None if job.unique is None else job.unique.rule.at_most
    return parameters(job) | {f"new_{name}": more[name] for name in IN_LINE} | {"at_most": most}


@lru_cache
def _lock(dialect: str) -> Select[Any]:
    c = JOBS.c
    chosen = in_order(batch.id_in(dialect, c.id), is_waiting(by_id=True), c.next_attempt_after < FOLLOWING)
    message = c.payload, c.content_type, c.content_encoding, c.headers
    return chosen.add_columns(*message, now().label("moment"))


#: What the row keeps: who it is, whom it belongs to, when it was accepted.
_KEPT = (
    "id",
    "job_type",
    "idempotency_key",
    "schedule",
    "root_id",
    "parent_id",
    "group_id",
    "queued",
    "dispatch_count",
)


@lru_cache
def _replace() -> Update:
    c = JOBS.c
    changed = {name: value for name, value in message_columns().items() if name not in _KEPT}
    changed |= columns(IN_LINE)
    # A debounced job is due so many seconds after its first call, however many follow.
    latest = later(c.queued, bindparam("at_most", type_=Seconds))
    due = case((latest < changed["next_attempt_after"], latest), else_=changed["next_attempt_after"])
    # A message that is on its way stays good for the row, if it would be sent to the same list at once. Of a
    # job with a limit the mark is also its permits.
    same = and_(
        c.queue == changed["queue"],
        c.priority == changed["priority"],
        c.line.is_not_distinct_from(changed["line"]),
    )
    same_turn = and_(same, c.fair_key.is_not_distinct_from(changed["fair_key"]))
    changed |= {
        "next_attempt_after": due,
        "turn": case((same_turn, c.turn), else_=null()),  # it is given one when it is due
        "user_id": func.coalesce(changed["user_id"], c.user_id),
        "max_tries": case((c.try_count == 0, changed["max_tries"]), else_=c.max_tries),
        "dispatched": case((and_(same, due <= now()), c.dispatched), else_=null()),
        "held": case((same, c.held), else_=null()),
    }
    return update(JOBS).where(c.id == bindparam("job", type_=c.id.type)).values(changed)
