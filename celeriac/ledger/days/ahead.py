"""Make the partitions of the coming days, before there are jobs in them."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import lacks_a_right, waited_too_long
from celeriac.ledger.days.divide import AHEAD, make_day, today
from celeriac.ledger.days.layout import REST, Day, days, is_divided, named_alone, run

#: Rows of a coming day in the default partition that are moved when it gets its own. More are left there.
_MOST = 1000

#: How long a statement may wait for its lock, and everybody else behind it.
_LOCK_TIMEOUT = "500ms"


_COUNT = "SELECT count(*) FROM (SELECT FROM {rest} WHERE {where} LIMIT {most}) AS found"


def missing(connection: Connection) -> list[Day]:
    """The coming days without a partition; none of a plain table. Today is not among them."""
    if not is_divided(connection):
        return []
    found, day, wanted = set(days(connection)), today(connection), []
    for _ in range(AHEAD):
        day = day.next
        if day not in found:
            wanted.append(day)
    return wanted


def make_ahead(connection: Connection, day: Day) -> bool:
    """Make the partition of a coming ``day``; False: the default partition has too many of its rows.

    Ids that say no day may look as if they were of one: one in three million, for each day.

    Raises:
        sqlalchemy.exc.OperationalError: the table was locked for too long: try again later.
    """
    named_alone(connection)
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    connection.exec_driver_sql("LOCK TABLE background_jobs, background_attempts IN ACCESS EXCLUSIVE MODE")
    if day in days(connection):
        return True
    rows, attempts = _of(day, "id"), _of(day, "job_id")
    found = run(connection, _COUNT, rest=REST, where=rows, most=_MOST + 1).scalar_one()
    if found > _MOST:
        return False
    if found:
        for name, source, where in (
            ("celeriac_moved_jobs", REST, rows),
            ("celeriac_moved_attempts", "background_attempts", attempts),
        ):
            copied = "CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT * FROM {source} WHERE {where}"
            run(connection, copied, name=name, source=source, where=where)
        run(connection, "DELETE FROM {rest} WHERE {where}", rest=REST, where=rows)  # with their attempts
    make_day(connection, day)
    if found:
        connection.exec_driver_sql("INSERT INTO background_jobs SELECT * FROM celeriac_moved_jobs")
        connection.exec_driver_sql("INSERT INTO background_attempts SELECT * FROM celeriac_moved_attempts")
        for name in ("celeriac_moved_jobs", "celeriac_moved_attempts"):
            connection.exec_driver_sql(f"DROP TABLE {name}")
    return True


def make_missing(database: Database) -> int:
    """Make the partitions of the coming days that are missing; return how many were made.

    One that cannot be made now is left out: others hold the table, or the role does not own it.
    """
    if database.dialect != "postgresql":
        return 0
    with database.reading() as connection:
        wanted = missing(connection)
    made = 0
    for day in wanted:
        try:
            with database.transaction() as connection:
                made += make_ahead(connection, day)
        except DBAPIError as exc:  # there is a week to try again; the doctor counts what is missing
            if not (waited_too_long(exc) or lacks_a_right(exc)):
                raise
    return made


def strays(connection: Connection, *, most: int) -> int:
    """How many rows of the last or the coming days are in the default partition, counted up to ``most``."""
    if not is_divided(connection):
        return 0
    named_alone(connection)
    day = first = today(connection)
    for _ in range(AHEAD):
        day = day.next
    where = f"id >= '{first.first}' AND id < '{day.next.first}'"
    return int(run(connection, _COUNT, rest=REST, where=where, most=most).scalar_one())


def _of(day: Day, column: str) -> str:
    return f"{column} >= '{day.first}' AND {column} < '{day.next.first}'"
