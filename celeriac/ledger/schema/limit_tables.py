"""The tables of flow control: limits, the permits' keys, and the lines in which jobs wait for permits.

Whether a job holds its permits is no table's: it does while it is dispatched and not finished. What is in use
is counted in the jobs' rows, through an index. Nobody but keepers writes permits' keys and lines.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Integer, String, Table, Text, Uuid

from celeriac.ledger.schema.columns import Instant, Word
from celeriac.ledger.schema.models import METADATA
from celeriac.names import NAME_LENGTH

#: A limit: what the code says, and what an operator says instead.
LIMITS = Table(
    "background_limits",
    METADATA,
    # set by workers that start, from their tasks
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("concurrency", Integer),  # null: any number
    Column("rate", String(32)),  # as "100/m"; null: any number
    Column("burst", Integer),  # null: that of the rate
    Column("on_failure", String(16)),  # of an order; null: it is none
    Column("declared", Instant, nullable=False),  # when a worker wrote that
    Column("declared_by", String(64)),  # its version of the code; null: not said
    # set by operators; null: what the code says
    Column("set_concurrency", Integer),
    Column("set_rate", String(32)),
    Column("set_by", String(NAME_LENGTH)),
    Column("paused", Instant),  # since when no job is admitted; null: it is not paused
    Column("paused_by", String(NAME_LENGTH)),
    Column("pause_reason", Text),
    # the circuit breaker as the code says, and what an operator lets it be instead; null: none, nothing
    Column("breaker", JSON(none_as_null=True)),
    Column("breaker_set", Word(16)),
    Column("breaker_set_by", String(NAME_LENGTH)),
    # moved by the worker that leads: what it is, since when, and why it opened; null: closed, always
    Column("breaker_state", Word(16)),
    Column("breaker_since", Instant),
    Column("breaker_why", Text),
    # moved by the worker that looks for new jobs of limits, in the first row
    Column("looker", Uuid),
    Column("looks_until", Instant),  # another may take over then
)


#: One permit name, such as ``tenant:42``: the row that admission locks.
PERMIT_KEYS = Table(
    "background_permit_keys",
    METADATA,
    Column("name", String(NAME_LENGTH), primary_key=True),
    Column("next_start", Instant),  # of a rate, if starts were evenly spaced; null: none was yet
    Column("rests_until", Instant),  # a task asked that nothing starts before; null: nobody has
    Column("touched", Instant, nullable=False),  # when it was last written
)


#: Jobs that take the same permits wait in one line.
LINES = Table(
    "background_lines",
    METADATA,
    Column("id", Uuid, primary_key=True),  # made from the names of the permits
    Column("permit_1", String(NAME_LENGTH), nullable=False),
    Column("permit_2", String(NAME_LENGTH)),
    Column("permit_3", String(NAME_LENGTH)),
    Column("due", Instant),  # when to look at it again; null: nothing waits, or it is blocked
    Column("blocked_on", String(NAME_LENGTH)),  # the permit that is used up
    Column("turn", BigInteger, nullable=False),  # lines of the same level go in this order
    Column("touched", Instant, nullable=False),
)


#: A unique key that is held for a time, whatever becomes of its job. Producers write it.
UNIQUE_KEYS = Table(
    "background_unique_keys",
    METADATA,
    Column("key", String(NAME_LENGTH), primary_key=True),
    Column("job", Uuid, nullable=False),  # whose it is
    Column("until", Instant, nullable=False),
)

#: Attempts that ended within a second, of a limit that has a circuit breaker.
ENDED = Table(
    "background_ended_attempts",
    METADATA,
    Column("name", String(NAME_LENGTH), primary_key=True),  # of the limit
    Column("second", Instant, primary_key=True),
    Column("ended", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
)
