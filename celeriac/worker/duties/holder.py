"""Holder: learn what is paused, and give back the jobs of what goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep import held
from celeriac.worker.pauses import Pauses

#: Seconds between two looks. A pause or a resume is obeyed within it and the turn that is at work.
EVERY = 0.5

#: Rows that are given back in one transaction.
BATCH = 1000

_LONGEST = 0.5  # seconds of one run, so that a pause is noticed while millions of rows are given back


class Holder:
    def __init__(self, database: Database, pauses: Pauses, *, on_change: Callable[[], None]) -> None:
        self._database = database
        self._pauses = pauses
        self._on_change = on_change

    def run(self) -> float | None:
        """Look, and give rows back; return 0 when more are left."""
        resumed = self._pauses.look().resumed
        end = time.monotonic() + _LONGEST
        for word in resumed:
            while self._give_back(word):
                if time.monotonic() >= end:
                    return 0.0
        return None

    def _give_back(self, word: str) -> bool:
        """Give back a batch; return whether there may be more."""
        with self._database.transaction() as connection:
            count = held.give_back(connection, word, limit=BATCH)
        if count:
            self._on_change()  # the dispatcher sends them
        return count == BATCH
