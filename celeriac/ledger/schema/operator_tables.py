"""The tables of what operators do and see: actions, pauses, mutes, counts, tokens and alerts.

Each field says who sets it and what null means. A worker's success path reads and writes none of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from celeriac.ledger.schema.columns import Word
from celeriac.ledger.schema.models import Base
from celeriac.names import NAME_LENGTH


class Action(Base):
    """Who did what to which jobs. Of many jobs, the row is also how far it is, so that it can be resumed."""

    __tablename__ = "background_actions"

    # set when it is asked for
    id: Mapped[UUID] = mapped_column(primary_key=True)  # time-ordered
    began: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(NAME_LENGTH))  # the console's or the system's user
    via: Mapped[str] = mapped_column(Word(16))  # console, api, cli or platform
    action: Mapped[str] = mapped_column(Word(32))  # as "replay"
    subject: Mapped[str] = mapped_column(Text)  # which jobs, queue or schedule, in words
    job_id: Mapped[UUID | None]  # the job, of an action on one; it may be pruned by now
    # the filter and the options, enough to go on with it; null: it was done at once
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    reason: Mapped[str | None] = mapped_column(Text)  # as given; null: none was
    counted: Mapped[int | None] = mapped_column(BigInteger)  # jobs, before it began; null: not counted
    request_key: Mapped[str | None] = mapped_column(String(NAME_LENGTH))  # of a request that may come again

    # moved by the process that carries it out
    runner: Mapped[UUID | None]  # that process; null: none has taken it, or it was done at once
    touched: Mapped[datetime]  # when it was last moved; a runner that is silent for long is gone
    position: Mapped[str | None] = mapped_column(String(64))  # beyond it nothing is done; null: at the start
    done: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # jobs that it met
    ended: Mapped[datetime | None]  # null: it goes on
    error: Mapped[str | None] = mapped_column(Text)  # why it ended early; null: it did not

    # set by whoever stops it
    stopped_by: Mapped[str | None] = mapped_column(String(NAME_LENGTH))  # null: nobody has

    __table_args__ = (
        Index("background_actions_listing", "began", "id"),
        Index("background_actions_by_person", "who", "began", "id"),
        Index(
            "background_actions_by_job",
            "job_id",
            postgresql_where=text("job_id IS NOT NULL"),
            sqlite_where=text("job_id IS NOT NULL"),
        ),
        Index(
            "background_actions_unfinished",
            "touched",
            postgresql_where=text("ended IS NULL"),
            sqlite_where=text("ended IS NULL"),
        ),
        Index(
            "background_actions_request",
            "request_key",
            unique=True,
            postgresql_where=text("request_key IS NOT NULL"),
            sqlite_where=text("request_key IS NOT NULL"),
        ),
    )


class Pause(Base):
    """A queue or a task whose jobs do not start. Deleted when it is resumed."""

    __tablename__ = "background_pauses"

    kind: Mapped[str] = mapped_column(Word(8), primary_key=True)  # queue or task
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)  # of the list, or of the task
    since: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(NAME_LENGTH))
    reason: Mapped[str | None] = mapped_column(Text)  # null: none was given

    __table_args__ = (CheckConstraint("kind IN ('queue', 'task')", name="pause_kind_is_known"),)


class Mute(Base):
    """A group of dead letters that is shown apart and told nobody. It may have ended by itself."""

    __tablename__ = "background_mutes"

    key: Mapped[str] = mapped_column(String(8), primary_key=True)  # of the group, a hash of its cause
    since: Mapped[datetime]
    until: Mapped[datetime | None]  # null: it has no end by the clock
    who: Mapped[str] = mapped_column(String(NAME_LENGTH))
    reason: Mapped[str | None] = mapped_column(Text)  # null: none was given
    size: Mapped[int] = mapped_column(BigInteger)  # dead letters of the group then: it ends when it has grown


class EndedCount(Base):
    """How many attempts ended within a minute or an hour, by task, queue and what they came to.

    Written by keepers; it outlives the jobs.
    """

    __tablename__ = "background_ended_counts"

    span: Mapped[int] = mapped_column(primary_key=True)  # seconds: 60 or 3600
    began: Mapped[datetime] = mapped_column(primary_key=True)  # the first moment of the span
    task: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)  # empty: of all beyond the most
    queue: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    outcome: Mapped[str] = mapped_column(Word(16), primary_key=True)  # completed, retried, failed, cancelled
    attempts: Mapped[int] = mapped_column(BigInteger)
    ran: Mapped[float]  # seconds, all together
    longest: Mapped[float]  # seconds
    # Below: how many waited and ran for how long. Null: an older version counted.

    __table_args__ = (CheckConstraint("span IN (60, 3600)", name="count_span_is_known"),)


#: Seconds at which the next of the columns of waits and runs begins.
SPREAD_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)

#: Of jobs that ended, how long they were due before their last attempt began; of attempts, how long they ran.
WAITS, RUNS = (
    tuple(f"{what}_{number}" for number in range(len(SPREAD_BOUNDS) + 1)) for what in ("wait", "run")
)
for _name in (*WAITS, *RUNS):
    setattr(EndedCount, _name, mapped_column(Integer, nullable=True))


class ApiToken(Base):
    """What a program shows to the HTTP API. The token itself is nowhere."""

    __tablename__ = "background_api_tokens"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))  # SHA-256 of the token
    role: Mapped[str] = mapped_column(Word(16))
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_LENGTH))
    expires: Mapped[datetime]
    last_used: Mapped[datetime | None]  # to the minute; null: never

    __table_args__ = (Index("background_api_tokens_by_digest", "digest", unique=True),)


class Alert(Base):
    """Something that is wrong and was told, so that it is told once, and its end as well."""

    __tablename__ = "background_alerts"

    key: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)  # as "queue:low"
    kind: Mapped[str] = mapped_column(Word(32))  # as "queue"
    sentence: Mapped[str] = mapped_column(Text)  # what is wrong
    path: Mapped[str] = mapped_column(Text)  # of the console's page that shows it
    since: Mapped[datetime]
    seen: Mapped[datetime]  # when it was still so
    told: Mapped[datetime | None]  # when a message about it was enqueued; null: not yet
    size: Mapped[int] = mapped_column(BigInteger)  # as large as it was when it was told


ACTIONS = cast(Table, Action.__table__)
PAUSES = cast(Table, Pause.__table__)
MUTES = cast(Table, Mute.__table__)
ENDED_COUNTS = cast(Table, EndedCount.__table__)
API_TOKENS = cast(Table, ApiToken.__table__)
ALERTS = cast(Table, Alert.__table__)
