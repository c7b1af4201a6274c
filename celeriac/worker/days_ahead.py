"""Make the partitions of the coming days, of a ledger that is divided by days."""

from __future__ import annotations

from celeriac.ledger.connection.database import Database
from celeriac.ledger.days import ahead

#: Seconds between two looks. The partitions are a week ahead.
EVERY = 3600.0


class DaysAhead:
    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self) -> None:
        """Make what is missing."""
        ahead.make_missing(self._database)
