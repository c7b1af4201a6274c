"""The partition of a batch: a worker's statements name it, where all their jobs are of one day.

PostgreSQL cannot tell by an array, or by a join, in which partitions a statement's rows are. It plans and
opens them all, which takes longer than to write a hundred rows. With the first and the last id beside them
it could, but would walk along the index between the two where it takes the table for small. A row of a day
that has a partition is nowhere else.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID
from weakref import WeakKeyDictionary

from celeriac.ledger.connection.database import Database
from celeriac.ledger.partitions.layout import FIRST_WITHOUT, Day, days

#: Seconds after which a process looks again which days have partitions.
_LOOK = 3600.0

#: When to look again, and what was found.
_KNOWN: WeakKeyDictionary[Database, tuple[float, frozenset[Day]]] = WeakKeyDictionary()

_FIRST_WITHOUT = Day(FIRST_WITHOUT).first


def partition_of(database: Database, first: UUID, last: UUID) -> str | None:
    """The name of the partition that has all jobs from ``first`` to ``last``; None: it must be the table.

    Once an hour this reads which partitions there are.
    """
    if last >= _FIRST_WITHOUT or not (known := known_days(database)):
        return None
    day = Day.of(datetime.fromtimestamp((first.int >> 80) / 1000, UTC))
    return day.name if day in known and last < day.next.first else None


def known_days(database: Database, *, anew: bool = False) -> frozenset[Day]:
    """The days that have partitions; none of a plain table. One may have been dropped meanwhile.

    Args:
        anew: look, whatever is known.
    """
    known = None if anew else _KNOWN.get(database)
    if known is None or time.monotonic() > known[0]:
        with database.statement() as connection:
            known = time.monotonic() + _LOOK, frozenset(days(connection))
        _KNOWN[database] = known
    return known[1]


def forget(database: Database) -> None:
    """Look again before the next statement."""
    _KNOWN.pop(database, None)
