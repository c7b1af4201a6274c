"""What is read behind the locks of permits' keys: the limits, the clock, and what is in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.connection.one_trip import Step, in_one_trip
from celeriac.ledger.limits import in_use, limit_rows, lines
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.limits.lines import PermitKey


@dataclass(frozen=True, slots=True)
class Locked:
    """
    Attributes:
        used: the weight of what is in use of each of the permits.
        moment: by the database's clock.
    """

    keys: Mapping[str, PermitKey]
    limits: Mapping[str, KnownLimit]
    used: Mapping[str, int]
    moment: datetime

    @classmethod
    def of(cls, connection: Connection, keys: Mapping[str, PermitKey], read: Sequence[Any]) -> Locked:
        """What the statements of ``behind`` have found, behind the locks of ``keys``."""
        known, used = read
        limits, moment = limit_rows.known_with_clock(known) if known else ({}, clock(connection))
        return cls(keys, limits, in_use.counted(used), moment)


def behind(dialect: str, permits: Sequence[str]) -> tuple[Step, Step]:
    """What is read behind the locks. A count in the statement that locks would be older than its lock."""
    return limit_rows.with_clock_step(), in_use.count_step(dialect, permits)


def lock(
    connection: Connection, permits: Sequence[str], *along: Step, wait: bool
) -> tuple[Locked, Sequence[Any]]:
    """Lock the keys of ``permits``; return what is known behind that, and the rows of ``along``.

    Args:
        along: further statements of the same trip, one at most.
        wait: for others' locks; otherwise what they have locked is left out.
    """
    dialect = connection.dialect.name
    mine = lines.lock_step(dialect, permits, skip=not wait)
    locked, known, used, *found = in_one_trip(connection, mine, *behind(dialect, permits), *along)
    keys = lines.keys_of(locked)
    if wait and len(keys) < len(permits):  # some are new
        keys = lines.lock_keys(connection, permits)
        known, used = in_one_trip(connection, *behind(dialect, permits))
    return Locked.of(connection, keys, (known, used)), found[0] if found else ()
