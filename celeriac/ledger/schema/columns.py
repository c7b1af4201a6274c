"""Column types and SQL functions that PostgreSQL and SQLite spell differently."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Dialect,
    Double,
    Integer,
    String,
    TypeDecorator,
    func,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.dialects.postgresql import Insert  # SQLite's takes the same

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: An eta or an expiry must be before this; ``PARKED`` and ``FOLLOWING`` are far after it.
LATEST = datetime(9000, 1, 1, tzinfo=UTC)

#: ``next_attempt_after`` of a job that waits for something other than time. Later than any eta
#: that is accepted, and, unlike SQL's infinity, the same value in both databases and in Python.
PARKED = datetime(9999, 1, 1, tzinfo=UTC)

#: The same of a job that follows another one, or whose key is not decided yet. Another moment, because
#: programs of before revision 0024 fail a parked job whose workflow has ended.
FOLLOWING = datetime(9998, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """A moment: ``timestamptz`` on PostgreSQL, integer microseconds since 1970 on SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"wanted an aware datetime, found {value!r}")
        return value if dialect.name == "postgresql" else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if isinstance(value, datetime) else from_microseconds(value)


class Word(TypeDecorator[str]):
    """A short text that is a member of a StrEnum in Python, and is given to the driver as plain text.

    psycopg would write an enum member's name, not its value.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exactly.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


class now(FunctionElement[datetime]):
    """The database's clock, at this statement (not at the start of its transaction)."""

    type = Instant()
    inherit_cache = True


class after(FunctionElement[datetime]):
    """The database's clock plus a number of seconds, which may be negative."""

    type = Instant()
    inherit_cache = True


class later(FunctionElement[datetime]):
    """A moment plus a number of seconds, its two arguments; null if one of them is."""

    type = Instant()
    inherit_cache = True


def evaluated_once(moment: now | after) -> Any:
    """``moment``, computed once in a statement, so that an index can be searched for earlier moments.

    PostgreSQL computes ``clock_timestamp()`` anew for every row, and would compare every row with it.
    """
    return select(moment).scalar_subquery()


def unindexed(column: ColumnElement[Any]) -> Any:
    """``column``, written so that no index fits it.

    For guards of rows that a statement names by id. If no job waited when PostgreSQL took its statistics, it
    would rather read the whole index of waiting jobs, which may have a million rows by now.
    """
    return func.coalesce(column, column)


class span_start(FunctionElement[datetime]):
    """The first moment of the span in which a moment lies. Spans of so many seconds follow on 1970 in UTC.

    Its arguments are the seconds, a number of the program's own, and the moment.
    """

    type = Instant()
    inherit_cache = True


class seconds_between(FunctionElement[float]):
    """Seconds from the first moment to the second."""

    type = Double()
    inherit_cache = True


class place_among(FunctionElement[int]):
    """How many of the bounds, ascending numbers of the program's own, are not above a number.

    Its arguments are the number, and then the bounds.
    """

    type = Integer()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_us()"  # registered on every connection, database.py


@compiles(after, "postgresql")
def _after_postgresql(element: after, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + CAST({seconds} AS DOUBLE PRECISION) * INTERVAL '1 second')"


@compiles(after, "sqlite")
def _after_sqlite(element: after, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_us() + CAST({seconds} * 1000000 AS INTEGER))"


@compiles(later, "postgresql")
def _later_postgresql(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    moment, seconds = (compiler.process(each, **kw) for each in element.clauses)
    return f"({moment} + CAST({seconds} AS DOUBLE PRECISION) * INTERVAL '1 second')"


@compiles(later, "sqlite")
def _later_sqlite(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    moment, seconds = (compiler.process(each, **kw) for each in element.clauses)
    return f"({moment} + CAST({seconds} * 1000000 AS INTEGER))"


@compiles(span_start, "postgresql")
def _span_start_postgresql(element: span_start, compiler: SQLCompiler, **kw: Any) -> str:
    seconds, moment = (compiler.process(each, **kw) for each in element.clauses)
    return f"date_bin(CAST({seconds} AS INTEGER) * INTERVAL '1 second', {moment}, to_timestamp(0))"


@compiles(span_start, "sqlite")
def _span_start_sqlite(element: span_start, compiler: SQLCompiler, **kw: Any) -> str:
    seconds, moment = (compiler.process(each, **kw) for each in element.clauses)
    return f"({moment} - {moment} % ({seconds} * 1000000))"


@compiles(place_among, "postgresql")
def _place_among_postgresql(element: place_among, compiler: SQLCompiler, **kw: Any) -> str:
    value, *bounds = (compiler.process(each, **kw) for each in element.clauses)
    return f"width_bucket({value}, CAST(ARRAY[{', '.join(bounds)}] AS DOUBLE PRECISION[]))"


@compiles(place_among, "sqlite")
def _place_among_sqlite(element: place_among, compiler: SQLCompiler, **kw: Any) -> str:
    value, *bounds = (compiler.process(each, **kw) for each in element.clauses)
    return f"({' + '.join(f'({value} >= {bound})' for bound in bounds)})"


@compiles(seconds_between, "postgresql")
def _seconds_between_postgresql(element: seconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    first, second = (compiler.process(each, **kw) for each in element.clauses)
    return f"date_part('epoch', {second} - {first})"  # EXTRACT would make a slow numeric


@compiles(seconds_between, "sqlite")
def _seconds_between_sqlite(element: seconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    first, second = (compiler.process(each, **kw) for each in element.clauses)
    return f"(({second} - {first}) / 1000000.0)"


Seconds = Double


def insert_of(dialect: str) -> Callable[[Table], Insert]:
    """The function that makes an INSERT with ON CONFLICT. Only what the process uses is imported.

    >>> insert_of("sqlite").__module__
    'sqlalchemy.dialects.sqlite.dml'
    """
    name = "postgresql" if dialect == "postgresql" else "sqlite"
    found: Callable[[Table], Insert] = import_module(f"sqlalchemy.dialects.{name}").insert
    return found
