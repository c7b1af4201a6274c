"""The tables, each field with who sets it and what null means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, cast
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from celeriac.ledger.schema.columns import Instant, Seconds, Word, now
from celeriac.ledger.schema.lifecycle import TERMINAL, WAITING, JobState
from celeriac.names import NAME_LENGTH

#: ``result`` of a job whose return value is not known. It is not JSON, so no return value equals it.
LOST = "lost"


def _listed(states: frozenset[JobState] | type[JobState]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


_LEFT_A_WORKER = "last_worker_id IS NOT NULL AND worker_id IS NULL"
#: Rows that hold their unique key. No write clears it: the claim and the end of a job take its row out of
#: here, whatever the version of the program that writes them.
_HOLDS_KEY = (
    "unique_key IS NOT NULL AND finished IS NULL"
    " AND (unique_while = 'active' OR (unique_while = 'waiting' AND last_worker_id IS NULL))"
)

_IN_LINE = "line IS NOT NULL AND dispatched IS NULL AND held IS NULL"
_HAS_TURN = "turn IS NOT NULL AND dispatched IS NULL AND held IS NULL"


def _partial(name: str, *columns: str, rows: str) -> Index:
    return Index(name, *columns, postgresql_where=text(rows), sqlite_where=text(rows))


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {datetime: Instant, float: Seconds}


class BackgroundJob(Base):
    """One request to run a task. This row is the truth; the broker only carries a message about it."""

    __tablename__ = "background_jobs"

    # set by enqueue
    id: Mapped[UUID] = mapped_column(primary_key=True)  # also Celery's task id
    job_type: Mapped[str] = mapped_column(String(NAME_LENGTH))  # the task's name
    queue: Mapped[str] = mapped_column(String(NAME_LENGTH))
    priority: Mapped[int]  # 0 to 100, higher is more important
    payload: Mapped[bytes] = mapped_column(LargeBinary)  # the message's body as sent
    content_type: Mapped[str] = mapped_column(String(NAME_LENGTH))
    content_encoding: Mapped[str] = mapped_column(String(NAME_LENGTH))
    headers: Mapped[dict[str, Any]] = mapped_column(JSON)  # the message's headers as sent
    # random, new with each payload of the row; stamped on its message; null: written by an older version
    message_tag: Mapped[int | None] = mapped_column(BigInteger)
    user_id: Mapped[str | None] = mapped_column(String(NAME_LENGTH))  # on whose behalf; null: not said
    queued: Mapped[datetime]  # when it was accepted
    max_tries: Mapped[int]
    timeout: Mapped[float | None]  # seconds an attempt may take, soft; null: no limit
    expires: Mapped[datetime | None]  # not claimed at or after this; null: never expires
    idempotency_key: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    schedule: Mapped[str | None] = mapped_column(String(NAME_LENGTH))  # whose fire this is
    root_id: Mapped[UUID | None]  # first job of its workflow
    parent_id: Mapped[UUID | None]  # the job that enqueued it
    group_id: Mapped[UUID | None]
    # of a job with limits: the line in which it waits, what it takes of each, and how much; else null
    line: Mapped[UUID | None]
    ordered: Mapped[
        bool | None
    ]  # true: its line goes one by one, as accepted; the first permit is the order's
    # of a job in a fair queue: whose it is, and its place; null turn: given when it is due
    fair_key: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    turn: Mapped[int | None] = mapped_column(BigInteger)
    permit_1: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    permit_2: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    permit_3: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    weight_1: Mapped[int | None]
    weight_2: Mapped[int | None]
    weight_3: Mapped[int | None]
    # of a unique job: what names it among all that mean the same, and for how long it holds that, as
    # ``While`` has it; the index says whether it does; else null
    unique_key: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    unique_while: Mapped[str | None] = mapped_column(Word(8))
    # the job that had the key when this one was enqueued, and whose result it takes; its own id: who has the
    # key is not decided yet; null: it runs itself
    follows: Mapped[UUID | None]

    # moved by claim, outcome, dispatch, release, cancel and replay
    state: Mapped[str] = mapped_column(Word(16))
    next_attempt_after: Mapped[datetime]  # not claimed before this; PARKED: until something else moves it
    dispatched: Mapped[datetime | None]  # when its message was last sent; null: no message was sent
    # why it is kept here although it may be due, as "queue:low" of a paused queue; null: it is not
    held: Mapped[str | None] = mapped_column(String(NAME_LENGTH + 8))
    dispatch_count: Mapped[int] = mapped_column(server_default=text("0"))  # stamped on each message
    try_count: Mapped[int] = mapped_column(server_default=text("0"))  # attempts that started
    tries_before: Mapped[int] = mapped_column(server_default=text("0"))  # attempts before the last replay
    worker_id: Mapped[UUID | None]  # who holds it; null unless running
    last_worker_id: Mapped[UUID | None]  # who claimed it last; null: nobody has
    started: Mapped[datetime | None]  # when the last attempt was claimed
    finished: Mapped[datetime | None]  # when it became terminal
    cancel_requested: Mapped[str | None] = mapped_column(String(4))  # soft or hard, of a running job
    unknown_since: Mapped[datetime | None]  # since when its task is unknown to the workers that see it
    result: Mapped[str | None] = mapped_column(Text)  # JSON; null: none or ignored; or LOST
    failure_info: Mapped[str | None] = mapped_column(Text)  # the last failure in one line

    def __repr__(self) -> str:
        """Which job and its state. It loads no column, and shows no argument: that could be a secret."""
        known = vars(self)
        tries = f"{known.get('try_count', 0)} of {known.get('max_tries', '?')} tries"
        return f"<BackgroundJob {known.get('id')} {known.get('job_type')} {known.get('state')}, {tries}>"

    @hybrid_property
    def ready_for_retry(self) -> bool:
        """Whether an attempt failed and the next one is due."""
        return self.state == JobState.ERROR and self.next_attempt_after <= datetime.now(UTC)

    @ready_for_retry.inplace.expression
    @classmethod
    def _ready_for_retry(cls) -> ColumnElement[bool]:
        return and_(cls.state == JobState.ERROR, cls.next_attempt_after <= now())

    __table_args__ = (
        CheckConstraint(f"state IN ({_listed(JobState)})", name="state_is_known"),
        CheckConstraint("priority BETWEEN 0 AND 100", name="priority_within_0_and_100"),
        CheckConstraint("max_tries >= 1", name="at_least_one_try"),
        CheckConstraint("try_count BETWEEN 0 AND max_tries", name="tries_within_limit"),
        CheckConstraint(
            f"(finished IS NOT NULL) = (state IN ({_listed(TERMINAL)}))", name="finished_iff_terminal"
        ),
        CheckConstraint("(worker_id IS NOT NULL) = (state = 'running')", name="held_iff_running"),
        # Lets the dispatcher's index and query do without the state.
        CheckConstraint(
            f"dispatched IS NOT NULL OR state IN ({_listed(WAITING)})", name="undispatched_only_while_waiting"
        ),
        CheckConstraint("cancel_requested IN ('soft', 'hard')", name="cancel_mode_is_known"),
        # What the dispatcher looks for. It has no state: a row leaves the index when its message is sent.
        # What is held, or waits for a permit, is not in it, so that a look does not grow with that.
        _partial(
            "background_jobs_unsent",
            "priority",
            "next_attempt_after",
            rows="dispatched IS NULL AND held IS NULL AND line IS NULL",
        ),
        # What admission looks for: jobs that wait in a line, in the order in which they go; those that came
        # lately; and what is in use of a permit.
        _partial("background_jobs_came_in_line", "queued", rows=_IN_LINE),
        *(
            _partial(
                f"background_jobs_permit_{number}",
                f"permit_{number}",
                f"weight_{number}",
                rows=f"permit_{number} IS NOT NULL AND dispatched IS NOT NULL AND finished IS NULL",
            )
            for number in (1, 2, 3)
        ),
        # The first unfinished job of an order's key.
        _partial(
            "background_jobs_in_order",
            "line",
            "queued",
            "id",
            rows="ordered IS NOT NULL AND finished IS NULL",
        ),
        # Fair queues: the last turn of a tenant, and what is to be given a turn when it is due.
        _partial("background_jobs_turn_of", "line", "priority", "fair_key", "turn", rows=_HAS_TURN),
        _partial(
            "background_jobs_no_turn",
            "line",
            "next_attempt_after",
            rows="fair_key IS NOT NULL AND turn IS NULL AND dispatched IS NULL AND held IS NULL",
        ),
        Index(
            "background_jobs_unique",
            "unique_key",
            unique=True,
            postgresql_where=text(_HOLDS_KEY),
            sqlite_where=text(_HOLDS_KEY),
        ),
        _partial("background_jobs_following", "follows", rows="follows IS NOT NULL AND finished IS NULL"),
        _partial("background_jobs_kept", "held", "id", rows="held IS NOT NULL"),
        # For programs of before revision 0013, which look through this one.
        _partial("background_jobs_undispatched", "priority", "next_attempt_after", rows="dispatched IS NULL"),
        _partial("background_jobs_held", "worker_id", rows="worker_id IS NOT NULL"),
        # What the search for lost messages looks for: sent, and not claimed since.
        _partial("background_jobs_sent", "queue", "dispatched", rows=f"state IN ({_listed(WAITING)})"),
        # Only jobs of workflows are in these. One search tells whether a workflow has an unfinished job.
        _partial("background_jobs_by_group", "group_id", "finished", rows="group_id IS NOT NULL"),
        _partial("background_jobs_by_root", "root_id", "finished", rows="root_id <> id"),
        Index("background_jobs_listing", "queued", "id"),
        Index("background_jobs_by_state", "state", "queued"),
        # For listings, by filter or by order.
        Index("background_jobs_by_task", "job_type", "queued", "id"),
        Index("background_jobs_by_queue", "queue", "queued", "id"),
        _partial("background_jobs_by_user", "user_id", "queued", "id", rows="user_id IS NOT NULL"),
        _partial("background_jobs_by_schedule", "schedule", "queued", "id", rows="schedule IS NOT NULL"),
        _partial("background_jobs_failing", "queued", "id", rows="failure_info IS NOT NULL"),
        _partial("background_jobs_due", "next_attempt_after", "id", rows=f"state IN ({_listed(WAITING)})"),
        # Jobs that workers put back because they do not know the task; hardly ever any.
        _partial("background_jobs_unknown", "job_type", rows="unknown_since IS NOT NULL"),
        # For listings by worker. A claim enters nothing here: who runs a job is in background_jobs_held.
        _partial("background_jobs_by_worker", "last_worker_id", "queued", "id", rows=_LEFT_A_WORKER),
        # For counts of jobs that ended lately.
        _partial("background_jobs_finished", "finished", rows="finished IS NOT NULL"),
    )


class FailedAttempt(Base):
    """An attempt that was not successful. A successful attempt has no row here: the job's row is enough."""

    __tablename__ = "background_attempts"

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("background_jobs.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)  # 1 for the first; 0: never started
    worker_id: Mapped[UUID | None]
    started: Mapped[datetime | None]
    finished: Mapped[datetime]
    kind: Mapped[str] = mapped_column(Word(16))
    exception_type: Mapped[str | None] = mapped_column(String(NAME_LENGTH))  # qualified name
    exception: Mapped[str | None] = mapped_column(Text)
    frame: Mapped[str | None] = mapped_column(String(NAME_LENGTH))  # file:function of the failing frame
    traceback: Mapped[str | None] = mapped_column(Text)

    # For counts of attempts that ended lately.
    __table_args__ = (Index("background_attempts_finished", "finished"),)


class Worker(Base):
    """One start of a worker's main process."""

    __tablename__ = "background_workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    hostname: Mapped[str] = mapped_column(String(NAME_LENGTH))  # Celery's node name
    pid: Mapped[int]
    pool: Mapped[str] = mapped_column(String(32))
    concurrency: Mapped[int]
    queues: Mapped[list[str]] = mapped_column(JSON)
    tasks: Mapped[str] = mapped_column(String(64))  # hash of the names of the tasks it knows
    version: Mapped[str] = mapped_column(String(32))  # of Celeriac
    code_version: Mapped[str | None] = mapped_column(String(64))  # of the team's code; null: not said
    started: Mapped[datetime]
    heartbeat: Mapped[datetime]
    stopped: Mapped[datetime | None]  # when it signed off or was declared dead; null: neither
    trouble: Mapped[str | None] = mapped_column(Text)  # why it cannot record outcomes; null: it can

    __table_args__ = (Index("background_workers_by_heartbeat", "heartbeat"),)


class WorkerTask(Base):
    """A task that workers know. Workers that know the same tasks share these rows."""

    __tablename__ = "background_worker_tasks"

    tasks: Mapped[str] = mapped_column(String(64), primary_key=True)  # as in their rows
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)


class Schedule(Base):
    """When a task is enqueued automatically; redbeat's entries are made from this table."""

    __tablename__ = "background_schedules"

    # set by whoever registers it
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    task: Mapped[str] = mapped_column(String(NAME_LENGTH))
    args: Mapped[list[Any]] = mapped_column(JSON)
    kwargs: Mapped[dict[str, Any]] = mapped_column(JSON)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)  # priority, user_id, max_tries …
    kind: Mapped[str] = mapped_column(Word(16))  # interval, cron or once
    expression: Mapped[str] = mapped_column(Text)  # seconds, five fields, or a moment
    timezone: Mapped[str] = mapped_column(String(64))
    starts: Mapped[datetime | None]  # no due time before it
    ends: Mapped[datetime | None]  # no due time after it
    catch_up: Mapped[str] = mapped_column(Word(16))  # what becomes of missed due times
    catch_up_limit: Mapped[int]  # missed due times that ``all`` fires at most, the newest
    overlap: Mapped[str] = mapped_column(Word(16))  # what to do while the last job is not terminal
    jitter: Mapped[float]  # seconds, at most, that a job waits after its due time
    static: Mapped[bool]  # from the project's own file or Celery's configuration
    created: Mapped[datetime]
    changed: Mapped[datetime]  # moved by every write

    # set by operators, and by no start of anything
    enabled: Mapped[bool]

    # set when a static schedule was taken out of its file; null: it is there
    retired: Mapped[datetime | None]

    # moved by each fire
    anchor: Mapped[datetime]  # the first due time: those of an interval are counted from it
    last_run: Mapped[datetime | None]  # the last due time that was fired: none up to it fires again
    next_run: Mapped[datetime | None]  # null: none to come
    run_count: Mapped[int] = mapped_column(server_default=text("0"))  # jobs, those of run-now included
    last_job_id: Mapped[UUID | None]
    last_skipped: Mapped[datetime | None]  # the last due time that was not fired
    skip_reason: Mapped[str | None] = mapped_column(Text)  # why

    __table_args__ = (
        CheckConstraint("kind IN ('interval', 'cron', 'once')", name="schedule_kind_is_known"),
        CheckConstraint("catch_up IN ('skip', 'once', 'all')", name="catch_up_is_known"),
        CheckConstraint("catch_up_limit >= 1", name="at_least_one_caught_up"),
        CheckConstraint("overlap IN ('allow', 'skip')", name="overlap_is_known"),
        CheckConstraint("jitter >= 0", name="jitter_is_no_head_start"),
        CheckConstraint("starts IS NULL OR ends IS NULL OR starts <= ends", name="starts_before_it_ends"),
        CheckConstraint(
            "next_run IS NULL OR last_run IS NULL OR next_run > last_run", name="no_due_time_fires_again"
        ),
        # Lets the index and query of what is due do without both.
        CheckConstraint(
            "next_run IS NULL OR (enabled AND retired IS NULL)", name="due_only_while_enabled_and_there"
        ),
        CheckConstraint("(last_skipped IS NULL) = (skip_reason IS NULL)", name="a_skip_has_a_reason"),
        Index(
            "background_schedules_due",
            "next_run",
            postgresql_where=text("next_run IS NOT NULL"),
            sqlite_where=text("next_run IS NOT NULL"),
        ),
    )


# The tables themselves, for statements.
JOBS = cast(Table, BackgroundJob.__table__)

# With an order that only columns of a table can say.
Index(
    "background_jobs_in_line",
    JOBS.c.line,
    JOBS.c.priority.desc(),
    JOBS.c.next_attempt_after,
    JOBS.c.id,
    postgresql_where=text(_IN_LINE),
    sqlite_where=text(_IN_LINE),
)

# A fair queue, in the order in which it goes.
Index(
    "background_jobs_by_turn",
    JOBS.c.line,
    JOBS.c.priority.desc(),
    JOBS.c.turn,
    JOBS.c.id,
    postgresql_where=text(_HAS_TURN),
    sqlite_where=text(_HAS_TURN),
)

FAILURES = cast(Table, FailedAttempt.__table__)
WORKERS = cast(Table, Worker.__table__)
WORKER_TASKS = cast(Table, WorkerTask.__table__)
SCHEDULES = cast(Table, Schedule.__table__)
