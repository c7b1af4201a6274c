"""The tables of what operators do and see: actions, pauses, mutes, skips, counts, tokens and alerts.

Each field says who sets it and what null means. A worker's success path reads and writes none of them.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    Uuid,
    text,
)

from celeriac.ledger.schema.columns import Instant, Seconds, Word
from celeriac.ledger.schema.models import METADATA
from celeriac.names import NAME_LENGTH

#: Who did what to which jobs. Of many jobs, the row is also how far it is, so that it can be resumed.
ACTIONS = Table(
    "background_actions",
    METADATA,
    # set when it is asked for
    Column("id", Uuid, primary_key=True),  # time-ordered
    Column("began", Instant, nullable=False),
    Column("who", String(NAME_LENGTH), nullable=False),  # the console's or the system's user
    Column("via", Word(16), nullable=False),  # console, api, cli or platform
    Column("action", Word(32), nullable=False),  # as "replay"
    Column("subject", Text, nullable=False),  # which jobs, queue or schedule, in words
    Column("job_id", Uuid),  # the job, of an action on one; it may be pruned by now
    # the filter and the options, enough to go on with it; null: it was done at once
    Column("parameters", JSON),
    Column("reason", Text),  # as given; null: none was
    Column("counted", BigInteger),  # jobs, before it began; null: not counted
    Column("request_key", String(NAME_LENGTH)),  # of a request that may come again
    # moved by the process that carries it out
    Column("runner", Uuid),  # that process; null: none has taken it, or it was done at once
    Column(
        "touched", Instant, nullable=False
    ),  # when it was last moved; a runner that is silent for long is gone
    Column("position", String(64)),  # beyond it nothing is done; null: at the start
    Column("done", BigInteger, server_default=text("0"), nullable=False),  # jobs that it met
    Column("ended", Instant),  # null: it goes on
    Column("error", Text),  # why it ended early; null: it did not
    # set by whoever stops it
    Column("stopped_by", String(NAME_LENGTH)),  # null: nobody has
)


#: A queue or a task whose jobs do not start. Deleted when it is resumed.
PAUSES = Table(
    "background_pauses",
    METADATA,
    Column("kind", Word(8), primary_key=True),  # queue or task
    Column("name", String(NAME_LENGTH), primary_key=True),  # of the list, or of the task
    Column("since", Instant, nullable=False),
    Column("who", String(NAME_LENGTH), nullable=False),
    Column("reason", Text),  # null: none was given
    CheckConstraint("kind IN ('queue', 'task')", name="pause_kind_is_known"),
)


#: A group of dead letters that is shown apart and told nobody. It may have ended by itself.
MUTES = Table(
    "background_mutes",
    METADATA,
    Column("key", String(8), primary_key=True),  # of the group, a hash of its cause
    Column("since", Instant, nullable=False),
    Column("until", Instant),  # null: it has no end by the clock
    Column("who", String(NAME_LENGTH), nullable=False),
    Column("reason", Text),  # null: none was given
    Column("size", BigInteger, nullable=False),  # dead letters of the group then: it ends when it has grown
)


#: Due times of a schedule that made no job, one after the other for the same reason.
SCHEDULE_SKIPS = Table(
    "background_schedule_skips",
    METADATA,
    Column("schedule", String(NAME_LENGTH), primary_key=True),
    Column("last", Instant, primary_key=True),  # the newest of them; moved while they go on
    Column("first", Instant, nullable=False),  # the oldest of them: no due time between the two made a job
    Column("reason", Text, nullable=False),
)


#: Seconds at which the next of the columns of waits and runs begins.
SPREAD_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)

#: Of jobs that ended, how long they were due before their last attempt began; of attempts, how long they ran.
WAITS, RUNS = (
    tuple(f"{what}_{number}" for number in range(len(SPREAD_BOUNDS) + 1)) for what in ("wait", "run")
)

#: How many attempts ended within a minute or an hour, by task, queue and what they came to.
#: Written by keepers; it outlives the jobs.
ENDED_COUNTS = Table(
    "background_ended_counts",
    METADATA,
    Column("span", Integer, primary_key=True),  # seconds: 60 or 3600
    Column("began", Instant, primary_key=True),  # the first moment of the span
    Column("task", String(NAME_LENGTH), primary_key=True),  # empty: of all beyond the most
    Column("queue", String(NAME_LENGTH), primary_key=True),
    Column("outcome", Word(16), primary_key=True),  # completed, retried, failed, cancelled
    Column("attempts", BigInteger, nullable=False),
    Column("ran", Seconds, nullable=False),  # seconds, all together
    Column("longest", Seconds, nullable=False),  # seconds
    # How many waited and ran for how long. Null: an older version counted.
    *(Column(name, Integer) for name in (*WAITS, *RUNS)),
    CheckConstraint("span IN (60, 3600)", name="count_span_is_known"),
)


#: What a program shows to the HTTP API. The token itself is nowhere.
API_TOKENS = Table(
    "background_api_tokens",
    METADATA,
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),  # SHA-256 of the token
    Column("role", Word(16), nullable=False),
    Column("created", Instant, nullable=False),
    Column("created_by", String(NAME_LENGTH), nullable=False),
    Column("expires", Instant, nullable=False),
    Column("last_used", Instant),  # to the minute; null: never
)


#: Something that is wrong and was told, so that it is told once, and its end as well.
ALERTS = Table(
    "background_alerts",
    METADATA,
    Column("key", String(NAME_LENGTH), primary_key=True),  # as "queue:low"
    Column("kind", Word(32), nullable=False),  # as "queue"
    Column("sentence", Text, nullable=False),  # what is wrong
    Column("path", Text, nullable=False),  # of the console's page that shows it
    Column("since", Instant, nullable=False),
    Column("seen", Instant, nullable=False),  # when it was still so
    Column("told", Instant),  # when a message about it was enqueued; null: not yet
    Column("size", BigInteger, nullable=False),  # as large as it was when it was told
)
