"""Make the partitions of the coming days, before there are jobs in them."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import lacks_a_right, waited_too_long
from celeriac.ledger.days.divide import make_day, today
from celeriac.ledger.days.exclusive import bring_back, lock, set_aside
from celeriac.ledger.partitions.layout import AHEAD, REST, Day, days, is_divided, named_alone, run

#: Rows of a coming day in the default partition that are moved when it gets its own. More are left there.
_MOST = 1000

_COUNT = "SELECT count(*) FROM (SELECT FROM {rest} WHERE {where} LIMIT {most}) AS found"


def missing(connection: Connection) -> list[Day]:
    """The coming days without a partition; none of a plain table. Today is not among them."""
    if not is_divided(connection):
        return []
    found, first = set(days(connection)), today(connection)
    coming = [first.later(number) for number in range(1, AHEAD + 1)]
    return [day for day in coming if day not in found]


def make_ahead(connection: Connection, day: Day) -> bool:
    """Make the partition of a coming ``day``; False: the default partition has too many of its rows.

    Ids that say no day may look as if they were of one: one in three million, for each day.

    Raises:
        sqlalchemy.exc.OperationalError: the table was locked for too long: try again later.
    """
    lock(connection, briefly=True)
    if day in days(connection):
        return True
    mine = f"{{column}} >= '{day.first}' AND {{column}} < '{day.next.first}'"
    rows = mine.format(column="id")
    found = run(connection, _COUNT, rest=REST, where=rows, most=_MOST + 1).scalar_one()
    if found > _MOST:
        return False
    if found:
        set_aside(connection, REST, mine)
        run(connection, "DELETE FROM {rest} WHERE {where}", rest=REST, where=rows)  # with their attempts
    make_day(connection, day)
    if found:
        bring_back(connection)
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
    first = today(connection)
    where = f"id >= '{first.first}' AND id < '{first.later(AHEAD + 1).first}'"
    return int(run(connection, _COUNT, rest=REST, where=where, most=most).scalar_one())
