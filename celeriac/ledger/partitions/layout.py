"""Which partitions the jobs' table has: one a day, one for ids that say no day, one for all others.

An id of version 7 begins with the milliseconds since 1970. Of ids that are derived from a text about 98 in a
hundred are beyond every day that anybody will see. The others, and the jobs of a day without a partition, are
in the default one: no job is refused because a partition is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, CursorResult, text

from celeriac.ledger.connection.schema_name import local_search_path, qualified, schema_of

PARENT, ATTEMPTS = "background_jobs", "background_attempts"

#: Ids from here on say no day; all of version 7 are below.
NO_DAY, FIRST_WITHOUT = "background_jobs_no_day", date(2100, 1, 1)

#: The default partition.
REST = "background_jobs_rest"

#: Days ahead of today that have partitions.
AHEAD = 7

_PREFIX = "background_jobs_d"

_FORM = text("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:name)")
_PARTITIONS = text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(:name) ORDER BY c.relname
""")


@dataclass(frozen=True, slots=True, order=True)
class Day:
    """A day in UTC, as a partition of its own."""

    date: date

    @property
    def name(self) -> str:
        """
        >>> Day(date(2026, 1, 31)).name
        'background_jobs_d20260131'
        """
        return f"{_PREFIX}{self.date:%Y%m%d}"

    @property
    def first(self) -> UUID:
        """The first id of the day.

        >>> Day(date(1970, 1, 2)).first
        UUID('00000526-5c00-0000-0000-000000000000')
        """
        return UUID(int=round(self.begins.timestamp() * 1000) << 80)

    @property
    def begins(self) -> datetime:
        return datetime.combine(self.date, time(), UTC)

    @property
    def next(self) -> Day:
        return self.later(1)

    def later(self, days: int) -> Day:
        """So many days later."""
        return Day(self.date + timedelta(days))

    @property
    def bounds(self) -> str:
        """As PostgreSQL has them."""
        return f"FROM ('{self.first}') TO ('{self.next.first}')"

    @classmethod
    def named(cls, name: str) -> Day | None:
        """The day of the partition ``name``; None: it is not one of a day.

        >>> Day.named("background_jobs_d20260131"), Day.named("background_jobs_rest")
        (Day(date=datetime.date(2026, 1, 31)), None)
        """
        digits = name.removeprefix(_PREFIX)
        if digits == name or not (digits.isdigit() and len(digits) == 8):
            return None
        return cls(datetime.strptime(digits, "%Y%m%d").date())

    @classmethod
    def of(cls, moment: datetime) -> Day:
        return cls(moment.astimezone(UTC).date())


def is_partition(name: str) -> bool:
    """Whether a table's name is that of a partition of ours.

    >>> is_partition("background_jobs_d20260131"), is_partition("background_jobs")
    (True, False)
    """
    return name in (NO_DAY, REST) or Day.named(name) is not None


def is_divided(connection: Connection) -> bool:
    """Whether the jobs' table is one of partitions."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.execute(_FORM, {"name": qualified(PARENT, schema_of(connection))}).scalar())


def days(connection: Connection) -> list[Day]:
    """The days that have partitions, in order."""
    found = connection.execute(_PARTITIONS, {"name": qualified(PARENT, schema_of(connection))}).scalars()
    return [day for name in found if (day := Day.named(name)) is not None]


def run(connection: Connection, statement: str, *values: object, **names: object) -> CursorResult[Any]:
    """Execute a statement of text, in which ``{table}`` stands for a name of ours and ``%s`` for a value."""
    return connection.exec_driver_sql(statement.format(**names), values or None)


def named_alone(connection: Connection) -> None:
    """Let names in the transaction mean the ledger's tables, without its schema."""
    if schema := schema_of(connection):
        connection.exec_driver_sql(local_search_path(schema))
