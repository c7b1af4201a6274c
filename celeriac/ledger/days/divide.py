"""Put a table of partitions in the place of the plain one, and back; both with everything locked."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.days import keys
from celeriac.ledger.days.exclusive import lock
from celeriac.ledger.partitions.layout import (
    AHEAD,
    FIRST_WITHOUT,
    NO_DAY,
    PARENT,
    REST,
    Day,
    is_divided,
    named_alone,
)

_REFERENCE = "background_attempts_job_id_fkey"
_REFERENCES = """
    SELECT conname FROM pg_constraint WHERE contype = 'f' AND conparentid = 0
        AND conrelid = 'background_attempts'::regclass AND confrelid = %s::regclass
"""
_BEFORE = f"{PARENT}_before"
#: The index for which the triggers of ``keys`` stand in.
UNIQUE = "background_jobs_unique"
_INDEXES = """
    SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %s::regclass AND NOT i.indisprimary
"""
_OPTIONS = "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = %s::regclass"
_FIRST_DAY = "SELECT min(queued) FROM background_jobs"


def divide(connection: Connection) -> None:
    """Divide the jobs' table by days, with all of its rows. Nobody reads or writes it meanwhile."""
    lock(connection)
    options, now = _options(connection, PARENT), clock(connection)
    day = Day.of(connection.exec_driver_sql(_FIRST_DAY).scalar() or now)
    indexes = _put_aside(connection)
    connection.exec_driver_sql(
        f"CREATE TABLE {PARENT} (LIKE {_BEFORE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
        " PARTITION BY RANGE (id)"
    )
    bounds = f"FROM ('{Day(FIRST_WITHOUT).first}') TO (MAXVALUE)"
    connection.exec_driver_sql(f"CREATE TABLE {NO_DAY} PARTITION OF {PARENT} FOR VALUES {bounds}{options}")
    connection.exec_driver_sql(f"CREATE TABLE {REST} PARTITION OF {PARENT} DEFAULT{options}")
    last = Day.of(now).later(AHEAD)
    while day <= last:
        make_day(connection, day)
        day = day.next
    _take_over(connection, indexes)
    keys.make(connection)
    keys.fill(connection)


def divide_if_empty(connection: Connection) -> bool:
    """As ``divide``, for a plain table that has no row; return whether it is divided now."""
    if is_divided(connection):
        return True
    named_alone(connection)
    if connection.exec_driver_sql("SELECT EXISTS (SELECT FROM background_jobs)").scalar_one():
        return False
    divide(connection)
    return True


def unite(connection: Connection) -> None:
    """Put a plain table in the place of the partitions, with all of their rows."""
    lock(connection)
    options = _options(connection, REST)
    indexes = _put_aside(connection)
    connection.exec_driver_sql(
        f"CREATE TABLE {PARENT} (LIKE {_BEFORE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
        f"{options}"
    )
    indexes[UNIQUE] = indexes[UNIQUE].replace("CREATE INDEX", "CREATE UNIQUE INDEX")
    _take_over(connection, indexes)
    keys.drop(connection)


def make_day(connection: Connection, day: Day) -> None:
    """Make the partition of ``day``, with the storage options of the others."""
    options = _options(connection, REST)
    connection.exec_driver_sql(
        f"CREATE TABLE {day.name} PARTITION OF {PARENT} FOR VALUES {day.bounds}{options}"
    )


def today(connection: Connection) -> Day:
    moment: datetime = clock(connection)
    return Day.of(moment)


def _options(connection: Connection, table: str) -> str:
    """A table's storage options, to be written behind the definition of another one."""
    options = connection.exec_driver_sql(_OPTIONS, (table,)).scalar()
    return f" WITH ({options})" if options else ""


def _put_aside(connection: Connection) -> dict[str, str]:
    """Rename the table; return the definitions of its indexes, for a table in partitions."""
    found = connection.exec_driver_sql(_INDEXES, (PARENT,)).all()
    for name in connection.exec_driver_sql(_REFERENCES, (PARENT,)).scalars().all():
        connection.exec_driver_sql(f'ALTER TABLE background_attempts DROP CONSTRAINT "{name}"')
    connection.exec_driver_sql(f"ALTER TABLE {PARENT} RENAME TO {_BEFORE}")
    return {
        name: text.replace("CREATE UNIQUE INDEX", "CREATE INDEX").replace(" ON ONLY ", " ON ")
        for name, text in found
    }


def _take_over(connection: Connection, indexes: dict[str, str]) -> None:
    """Bring the rows, the indexes and the foreign key from the table that was put aside, which goes."""
    connection.exec_driver_sql("INSERT INTO background_jobs SELECT * FROM background_jobs_before")
    connection.exec_driver_sql(f"DROP TABLE {_BEFORE}")
    connection.exec_driver_sql(f"ALTER TABLE {PARENT} ADD CONSTRAINT {PARENT}_pkey PRIMARY KEY (id)")
    for definition in indexes.values():
        connection.exec_driver_sql(definition)
    connection.exec_driver_sql(
        f"ALTER TABLE background_attempts ADD CONSTRAINT {_REFERENCE}"
        f" FOREIGN KEY (job_id) REFERENCES {PARENT} (id) ON DELETE CASCADE"
    )
