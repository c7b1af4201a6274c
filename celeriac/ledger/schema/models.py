"""The tables, each field with who sets it and what null means. Without the ORM, which few processes need."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    text,
)

from celeriac.ledger.schema.columns import Instant, Seconds, Word
from celeriac.ledger.schema.lifecycle import TERMINAL, WAITING, JobState
from celeriac.names import NAME_LENGTH

#: ``result`` of a job whose return value is not known. It is not JSON, so no return value equals it.
LOST = "lost"


def listed(states: frozenset[JobState] | type[JobState]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


METADATA = MetaData()

#: One request to run a task. This row is the truth; the broker only carries a message about it.
JOBS = Table(
    "background_jobs",
    METADATA,
    # set by enqueue
    Column("id", Uuid, primary_key=True),  # also Celery's task id
    Column("job_type", String(NAME_LENGTH), nullable=False),  # the task's name
    Column("queue", String(NAME_LENGTH), nullable=False),
    Column("priority", Integer, nullable=False),  # 0 to 100, higher is more important
    Column("payload", LargeBinary, nullable=False),  # the message's body as sent
    Column("content_type", String(NAME_LENGTH), nullable=False),
    Column("content_encoding", String(NAME_LENGTH), nullable=False),
    Column("headers", JSON, nullable=False),  # the message's headers as sent
    # random, new with each payload of the row; stamped on its message; null: written by an older version
    Column("message_tag", BigInteger),
    Column("user_id", String(NAME_LENGTH)),  # on whose behalf; null: not said
    Column("queued", Instant, nullable=False),  # when it was accepted
    Column("max_tries", Integer, nullable=False),
    Column("timeout", Seconds),  # seconds an attempt may take, soft; null: no limit
    Column("expires", Instant),  # not claimed at or after this; null: never expires
    Column("idempotency_key", String(NAME_LENGTH)),
    Column("schedule", String(NAME_LENGTH)),  # whose fire this is
    Column("root_id", Uuid),  # first job of its workflow
    Column("parent_id", Uuid),  # the job that enqueued it
    Column("group_id", Uuid),
    # of a job with limits: the line in which it waits, what it takes of each, and how much; else null
    Column("line", Uuid),
    Column(
        "ordered", Boolean
    ),  # true: its line goes one by one, as accepted; the first permit is the order's
    # of a job in a fair queue: whose it is, and its place; null turn: given when it is due
    Column("fair_key", String(NAME_LENGTH)),
    Column("turn", BigInteger),
    Column("permit_1", String(NAME_LENGTH)),
    Column("permit_2", String(NAME_LENGTH)),
    Column("permit_3", String(NAME_LENGTH)),
    Column("weight_1", Integer),
    Column("weight_2", Integer),
    Column("weight_3", Integer),
    # of a unique job: what names it among all that mean the same, and for how long it holds that, as
    # ``While`` has it; the index says whether it does; else null
    Column("unique_key", String(NAME_LENGTH)),
    Column("unique_while", Word(8)),
    # the job that had the key when this one was enqueued, and whose result it takes; its own id: who has the
    # key is not decided yet; null: it runs itself
    Column("follows", Uuid),
    # moved by claim, outcome, dispatch, release, cancel and replay
    Column("state", Word(16), nullable=False),
    Column(
        "next_attempt_after", Instant, nullable=False
    ),  # not claimed before this; PARKED: until something else moves it
    Column("dispatched", Instant),  # when its message was last sent; null: no message was sent
    # why it is kept here although it may be due, as "queue:low" of a paused queue; null: it is not
    Column("held", String(NAME_LENGTH + 8)),
    Column("dispatch_count", Integer, server_default=text("0"), nullable=False),  # stamped on each message
    Column("try_count", Integer, server_default=text("0"), nullable=False),  # attempts that started
    Column(
        "tries_before", Integer, server_default=text("0"), nullable=False
    ),  # attempts before the last replay
    Column("worker_id", Uuid),  # who holds it; null unless running
    Column("last_worker_id", Uuid),  # who claimed it last; null: nobody has
    Column("started", Instant),  # when the last attempt was claimed
    Column("finished", Instant),  # when it became terminal
    Column("cancel_requested", String(4)),  # soft or hard, of a running job
    Column("unknown_since", Instant),  # since when its task is unknown to the workers that see it
    Column("result", Text),  # JSON; null: none or ignored; or LOST
    Column("failure_info", Text),  # the last failure in one line
    CheckConstraint(f"state IN ({listed(JobState)})", name="state_is_known"),
    CheckConstraint("priority BETWEEN 0 AND 100", name="priority_within_0_and_100"),
    CheckConstraint("max_tries >= 1", name="at_least_one_try"),
    CheckConstraint("try_count BETWEEN 0 AND max_tries", name="tries_within_limit"),
    CheckConstraint(
        f"(finished IS NOT NULL) = (state IN ({listed(TERMINAL)}))", name="finished_iff_terminal"
    ),
    CheckConstraint("(worker_id IS NOT NULL) = (state = 'running')", name="held_iff_running"),
    # Lets the dispatcher's index and query do without the state.
    CheckConstraint(
        f"dispatched IS NOT NULL OR state IN ({listed(WAITING)})", name="undispatched_only_while_waiting"
    ),
    CheckConstraint("cancel_requested IN ('soft', 'hard')", name="cancel_mode_is_known"),
)


#: An attempt that was not successful. A successful attempt has no row here: the job's row is enough.
FAILURES = Table(
    "background_attempts",
    METADATA,
    Column("job_id", Uuid, ForeignKey("background_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),  # 1 for the first; 0: never started
    Column("worker_id", Uuid),
    Column("started", Instant),
    Column("finished", Instant, nullable=False),
    Column("kind", Word(16), nullable=False),
    Column("exception_type", String(NAME_LENGTH)),  # qualified name
    Column("exception", Text),
    Column("frame", String(NAME_LENGTH)),  # file:function of the failing frame
    Column("traceback", Text),
)


#: One start of a worker's main process.
WORKERS = Table(
    "background_workers",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("hostname", String(NAME_LENGTH), nullable=False),  # Celery's node name
    Column("pid", Integer, nullable=False),
    Column("pool", String(32), nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("queues", JSON, nullable=False),
    Column("tasks", String(64), nullable=False),  # hash of the names of the tasks it knows
    Column("version", String(32), nullable=False),  # of Celeriac
    Column("code_version", String(64)),  # of the team's code; null: not said
    Column("started", Instant, nullable=False),
    Column("heartbeat", Instant, nullable=False),
    Column("stopped", Instant),  # when it signed off or was declared dead; null: neither
    Column("trouble", Text),  # why it cannot record outcomes; null: it can
)


#: A task that workers know. Workers that know the same tasks share these rows.
WORKER_TASKS = Table(
    "background_worker_tasks",
    METADATA,
    Column("tasks", String(64), primary_key=True),  # as in their rows
    Column("name", String(NAME_LENGTH), primary_key=True),
)


#: When a task is enqueued automatically; redbeat's entries are made from this table.
SCHEDULES = Table(
    "background_schedules",
    METADATA,
    # set by whoever registers it
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("task", String(NAME_LENGTH), nullable=False),
    Column("args", JSON, nullable=False),
    Column("kwargs", JSON, nullable=False),
    Column("options", JSON, nullable=False),  # priority, user_id, max_tries …
    Column("kind", Word(16), nullable=False),  # interval, cron or once
    Column("expression", Text, nullable=False),  # seconds, five fields, or a moment
    Column("timezone", String(64), nullable=False),
    Column("starts", Instant),  # no due time before it
    Column("ends", Instant),  # no due time after it
    Column("catch_up", Word(16), nullable=False),  # what becomes of missed due times
    Column(
        "catch_up_limit", Integer, nullable=False
    ),  # missed due times that ``all`` fires at most, the newest
    Column("overlap", Word(16), nullable=False),  # what to do while the last job is not terminal
    Column("jitter", Seconds, nullable=False),  # seconds, at most, that a job waits after its due time
    Column("static", Boolean, nullable=False),  # from the project's own file or Celery's configuration
    Column("created", Instant, nullable=False),
    Column("changed", Instant, nullable=False),  # moved by every write
    # set by operators, and by no start of anything
    Column("enabled", Boolean, nullable=False),
    # set when a static schedule was taken out of its file; null: it is there
    Column("retired", Instant),
    # moved by each fire
    Column("anchor", Instant, nullable=False),  # the first due time: those of an interval are counted from it
    Column("last_run", Instant),  # the last due time that was fired: none up to it fires again
    Column("next_run", Instant),  # null: none to come
    Column("run_count", Integer, server_default=text("0"), nullable=False),  # jobs, those of run-now included
    Column("last_job_id", Uuid),
    Column("last_skipped", Instant),  # the last due time that was not fired
    Column("skip_reason", Text),  # why
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
)
