"""Enqueue: write the rows of new jobs; a row that exists is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    select,
    update,
)

from celeriac.headers import DUE, FOLLOWS, PERMITS, new_tag
from celeriac.ledger.schema.columns import FOLLOWING, PARKED, Instant, Seconds, after, insert_of, now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.state_conditions import is_in
from celeriac.ledger.schema.turns import next_turn, turn_with
from celeriac.limits.fairness import FairTurn
from celeriac.limits.permits import Permit, is_order, line_of
from celeriac.limits.unique_key import UniqueCall


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job that is about to be written: the values of its row and its message.

    Attributes:
        delay: seconds from the database's now to the first attempt.
        not_before: the earliest time of the first attempt; wins over ``delay``.
        expires_in: seconds from the database's now; ``expires`` wins over it.
        send: whether its message leaves as soon as the row is committed. False when the message
            is left to the dispatcher.
        message_tag: a random number that its row and its message share, and no other message of the same id.
        permits: what it takes of limits; its message is sent when it is admitted, by nobody else.
        fair: whose turn it is in a fair queue; None: its queue goes by arrival.
        unique: what its call says of its key; None: it has none.
        headers_encoded: the mapping that ``headers`` is, and its JSON; None: it is encoded when it is needed.
    """

    id: UUID
    job_type: str
    queue: str
    priority: int
    payload: bytes
    content_type: str
    content_encoding: str
    headers: Mapping[str, Any]
    max_tries: int
    timeout: float | None = None
    user_id: str | None = None
    idempotency_key: str | None = None
    schedule: str | None = None
    root_id: UUID | None = None
    parent_id: UUID | None = None
    group_id: UUID | None = None
    delay: float = 0.0
    not_before: datetime | None = None
    expires_in: float | None = None
    expires: datetime | None = None
    send: bool = True
    message_tag: int = field(default_factory=new_tag, compare=False)
    permits: tuple[Permit, ...] = ()
    fair: FairTurn | None = None
    unique: UniqueCall | None = None
    headers_encoded: tuple[Mapping[str, Any], str] | None = field(default=None, compare=False, repr=False)

    @property
    def headers_text(self) -> str | None:
        """``headers`` as JSON, where who made it knew; not those of another job that it was made from."""
        known = self.headers_encoded
        return known[1] if known is not None and known[0] is self.headers else None

    @property
    def due_at_once(self) -> bool:
        return self.not_before is None and self.delay <= 0

    @property
    def has_expiry(self) -> bool:
        return self.expires is not None or self.expires_in is not None

    def unsent(self) -> NewJob:
        return replace(self, send=False)

    @property
    def dispatch_count(self) -> int:
        """The dispatch count that the row gets when the job is enqueued; stamped on its message."""
        if not (self.send and self.due_at_once) or self.permits:
            return 0
        return 1 if self.unique is None or self.unique.holds else 0

    def promised(self) -> NewJob:
        """The same, as a job whose id is known to others by now: a unique one has a row of its own."""
        return self if self.unique is None else replace(self, unique=replace(self.unique, promised=True))

    def holding(self) -> NewJob:
        """The same, as a job that takes its key, or is not written."""
        return replace(self, unique=replace(self._called, holds=True))

    def following(self, job: UUID, task_id: str) -> NewJob:
        """The same, as a job that takes the result of ``job``: it takes nothing of limits."""
        headers = {**self.headers, FOLLOWS: task_id}
        headers.pop(PERMITS, None)
        unique = replace(self._called, holds=False, follows=job)
        return replace(self, unique=unique, headers=headers, permits=(), fair=None, not_before=FOLLOWING)

    def undecided(self) -> NewJob:
        """The same, as a job of which a keeper decides whether it may have its key.

        For writers that must not wait for another transaction. Its row follows itself until then.
        """
        unique = self._called
        if unique.holds or unique.follows is not None:
            return self
        due = None if self.not_before is None else self.not_before.isoformat()
        headers = {**self.headers, DUE: [self.delay, due]}
        return replace(self, unique=replace(unique, follows=self.id), headers=headers, not_before=FOLLOWING)

    @property
    def _called(self) -> UniqueCall:
        assert self.unique is not None
        return self.unique

    @property
    def key_columns(self) -> dict[str, Any]:
        """The columns of unique jobs; all null without a key."""
        found: dict[str, Any] = dict.fromkeys(OF_KEYS)
        if self.unique is not None:
            found["follows"] = self.unique.follows
            if self.unique.holds:
                found |= {"unique_key": self.unique.key, "unique_while": str(self.unique.rule.while_)}
        return found

    @property
    def in_line(self) -> dict[str, Any]:
        """The columns of the limits; all null without one."""
        found: dict[str, Any] = dict.fromkeys(IN_LINE)
        for number, permit in enumerate(self.permits, 1):
            found[f"permit_{number}"], found[f"weight_{number}"] = permit.name, permit.weight
        if self.permits:
            found["line"] = line_of(self.permits)
            found["ordered"] = True if is_order(self.permits[0].name) else None
            found["fair_key"] = self.fair.key if self.fair else None
        return found

    @property
    def step(self) -> int | None:
        """To its turn in a fair queue from the one before; None: it gets none yet."""
        return self.fair.step if self.fair and self.due_at_once else None


COPIED = (
    "id",
    "job_type",
    "queue",
    "priority",
    "payload",
    "content_type",
    "content_encoding",
    "headers",
    "message_tag",
    "max_tries",
    "timeout",
    "user_id",
    "idempotency_key",
    "schedule",
    "root_id",
    "parent_id",
    "group_id",
)
#: Columns that only a job with limits writes: the others need not send them.
IN_LINE = (
    "line",
    "ordered",
    "fair_key",
    "permit_1",
    "permit_2",
    "permit_3",
    "weight_1",
    "weight_2",
    "weight_3",
)
#: Columns that only a unique job writes.
OF_KEYS = ("unique_key", "unique_while", "follows")

#: Values from which the database computes the columns that depend on its clock.
SOURCES: Mapping[str, Any] = {
    "delay": Seconds(),
    "not_before": Instant(),
    "expires_in": Seconds(),
    "expires": Instant(),
    "sent": JOBS.c.dispatch_count.type,
}
WRITTEN = (
    *COPIED,
    "queued",
    "next_attempt_after",
    "expires",
    "dispatched",
    "dispatch_count",
    "state",
    "try_count",
)
FRESH = (literal(JobState.PENDING.value), literal(0))  # state and try_count of a new row
_copied = attrgetter(*COPIED)
_NEW = tuple(f"new_{name}" for name in COPIED)


def enqueue(connection: Connection, jobs: Sequence[NewJob], *, deadline: datetime | None = None) -> int:
    """Write the rows of ``jobs``; return how many are new. A row that exists is left as it is.

    It never waits for another transaction's unique key: such jobs are written undecided, unless they say
    themselves that they hold it.

    Args:
        deadline: a time on the database's clock after which nothing is written. A statement that a frozen
            database executes later then has no effect.
    """
    if not jobs:
        return 0
    jobs = [job.undecided() if job.unique else job for job in jobs]
    more, fair = more_columns(jobs), any(job.fair for job in jobs)
    statement = insert(connection.dialect.name, deadline is not None, more, fair)
    rows = [parameters(job, deadline) | more_parameters(job, more, fair) for job in jobs]
    # SQLAlchemy keeps the row count of an INSERT only with this option.
    connection = connection.execution_options(preserve_rowcount=True)
    result = connection.execute(statement, rows[0] if len(rows) == 1 else rows)
    return max(result.rowcount, 0)


def unpark(connection: Connection, job: NewJob) -> bool:
    """Give a parked row the message that it was waiting for; return whether it was parked."""
    result = connection.execute(_unpark(), parameters(job) | more_parameters(job, IN_LINE) | {"job": job.id})
    return bool(result.rowcount)


@lru_cache
def insert(dialect: str, bounded: bool, more: tuple[str, ...], fair: bool) -> Insert:
    """The statement of ``enqueue``; ``parameters`` and ``more_parameters`` have its values."""
    given = [*_given(), *columns(more).values()]
    turns = [_turn(dialect)] if fair else []
    if dialect == "postgresql":  # a SELECT has no column from which the server could infer the type
        given = [cast(value, value.type) for value in given]
    copied = len(COPIED)
    chosen: Select[Any] = select(*given[:copied], *computed(_parameter), *FRESH, *given[copied:], *turns)
    if bounded:
        chosen = chosen.where(now() <= bindparam("deadline", type_=Instant))
    else:
        chosen = chosen.where(literal(True))  # SQLite cannot parse INSERT … SELECT … ON CONFLICT without it
    made = insert_of(dialect)(JOBS).from_select((*WRITTEN, *more, *(("turn",) if fair else ())), chosen)
    return made.on_conflict_do_nothing(index_elements=conflicts(more))


@lru_cache
def _unpark() -> Update:
    waiting = and_(
        JOBS.c.id == bindparam("job"),
        is_in(JobState.PENDING),
        JOBS.c.next_attempt_after == PARKED,
    )
    kept = ("id", "queued", "idempotency_key", "user_id", "schedule", "dispatch_count")
    changed = {name: value for name, value in message_columns().items() if name not in kept}
    changed |= columns(IN_LINE)
    return update(JOBS).where(waiting).values(changed | {"dispatch_count": JOBS.c.dispatch_count + 1})


def message_columns() -> dict[str, Any]:
    """The columns of a row that come from a NewJob; ``parameters`` has the values."""
    clocked = ("queued", "next_attempt_after", "expires", "dispatched", "dispatch_count")
    return dict(zip(COPIED, _given(), strict=True)) | dict(zip(clocked, computed(_parameter), strict=True))


def more_columns(jobs: Sequence[NewJob]) -> tuple[str, ...]:
    """The columns beside those of every job that one of ``jobs`` writes."""
    in_line = IN_LINE if any(job.permits for job in jobs) else ()
    return (*in_line, *(OF_KEYS if any(job.unique for job in jobs) else ()))


def _turn(dialect: str) -> Any:
    c = JOBS.c
    names = {"line": c.line, "priority": c.priority, "key": c.fair_key, "step": c.turn}
    given: dict[str, Any] = {
        name: bindparam(f"new_{'fair_key' if name == 'key' else name}", type_=column.type)
        for name, column in names.items()
    }
    if dialect == "postgresql":
        given = {name: cast(value, value.type) for name, value in given.items()}
    return turn_with(given["step"], next_turn(dialect, **given))


def conflicts(more: tuple[str, ...]) -> list[str] | None:
    """The columns of the constraint that a new row may violate; None: any, since a unique key is written."""
    return None if "unique_key" in more else ["id"]


def columns(names: tuple[str, ...]) -> dict[str, Any]:
    """Columns that not every job writes, as parameters; ``more_values`` has the values."""
    return {name: bindparam(f"new_{name}", type_=JOBS.c[name].type) for name in names}


def more_parameters(job: NewJob, names: tuple[str, ...], fair: bool = False) -> dict[str, Any]:
    values = more_values(job) if names else {}
    found = {f"new_{name}": values[name] for name in names}
    return found | {"new_step": job.step} if fair else found


def more_values(job: NewJob) -> dict[str, Any]:
    """The values of all columns that not every job writes."""
    return job.in_line | job.key_columns


def _given() -> list[Any]:
    return [bindparam(new, type_=JOBS.c[name].type) for new, name in zip(_NEW, COPIED, strict=True)]


def _parameter(name: str, kind: Any) -> Any:
    return bindparam(f"new_{name}", type_=kind)


def computed(source: Callable[[str, Any], Any]) -> list[Any]:
    """The columns that depend on the database's clock; ``source`` returns a value by name and type."""
    delay, not_before, expires_in, expires, sent = (source(name, kind) for name, kind in SOURCES.items())
    return [
        now(),
        func.coalesce(not_before, after(delay)),
        func.coalesce(expires, after(expires_in)),  # null seconds give null
        case((sent > 0, now()), else_=cast(null(), Instant)),
        sent,
    ]


def parameters(job: NewJob, deadline: datetime | None = None) -> dict[str, Any]:
    row = dict(zip(_NEW, _copied(job), strict=True))
    row["new_headers"] = dict(job.headers)
    row["new_delay"] = job.delay
    row["new_not_before"] = job.not_before
    row["new_expires_in"] = job.expires_in
    row["new_expires"] = job.expires
    row["new_sent"] = job.dispatch_count
    if deadline is not None:
        row["deadline"] = deadline
    return row
