"""Roll up what ended, once a minute. Every keeper looks, and whoever comes first does it for all."""

from __future__ import annotations

import time

from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep.roll_up import roll_up

#: The longest time between two looks, in seconds.
EVERY = 60.0

_LATE = 1.0  # seconds after the end of a minute: what ended in it is mostly committed by then
_REST = 3  # the pause after a step, in durations of the step, while there is more: jobs have priority


class RollUp:
    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self) -> float:
        """Count what is due; return the seconds until more is."""
        began = time.monotonic()
        with self._database.transaction() as connection:
            done = roll_up(connection)
        if done.due_in > 0.0:
            return done.due_in + _LATE
        return _REST * (time.monotonic() - began)
