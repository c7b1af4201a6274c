"""Prune a ledger that is divided by days: whole days go, in short transactions."""

from __future__ import annotations

import time
from collections import Counter

from sqlalchemy.exc import DBAPIError

from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import lacks_a_right, waited_too_long
from celeriac.ledger.days import retire
from celeriac.ledger.days.retire import Ages, Look
from celeriac.ledger.partitions.layout import Day

_BATCH = 1000

#: Seconds that a look at the rows of a day may take, and a drop, for which all others wait.
_LOOK, _DROP = 600.0, 30.0

#: Tries to get the lock, and the seconds between two of them, in which others get it.
_TRIES, _PAUSE = 20, 1.0


def drop_old_days(database: Database, ages: Ages) -> Counter[str]:
    """Drop the days that are older than their retention; return how many rows went, by their states.

    A day of which much must stay is left to the deletion of rows; so is one that others keep locked, and each
    where the role does not own the tables.
    """
    gone: Counter[str] = Counter()
    if database.dialect != "postgresql":
        return gone
    with database.reading() as connection:
        days = retire.ended_days(connection, age=ages.done)
    for day in days:
        with database.transaction(within=_LOOK) as connection:
            seen = retire.look(connection, day, ages)
        if seen is not None:
            _forget_attempts(database, day, seen)
            if _dropped(database, day, seen):
                gone += seen.gone
    return gone


def _forget_attempts(database: Database, day: Day, seen: Look) -> None:
    count = _BATCH
    while count == _BATCH:
        with database.transaction() as connection:
            count = retire.forget_attempts(connection, day, seen.stay, limit=_BATCH)


def _dropped(database: Database, day: Day, seen: Look) -> bool:
    for _ in range(_TRIES):
        try:
            with database.transaction(within=_DROP) as connection:
                retire.drop(connection, day, seen)
            return True
        except DBAPIError as exc:
            if lacks_a_right(exc):
                return False  # the doctor says so; rows may be deleted
            if not waited_too_long(exc):
                raise
        time.sleep(_PAUSE)
    return False
