"""The paused queues and tasks as this worker knows them: two sets in memory, read anew every half second.

The gate and the dispatcher ask here whether the table of pauses has to be asked at all. What the table says
in the statement that holds a row decides.
"""

from __future__ import annotations

from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep import held
from celeriac.ledger.upkeep.held import Paused


class Pauses:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Paused | None = None  # None: not read yet since the worker began

    def look(self) -> Paused:
        """Read what is paused; return it."""
        with self._database.reading() as connection:
            self._known = held.look(connection)
        return self._known

    @property
    def is_known(self) -> bool:
        """Whether it was read; if not, a question reads it."""
        return self._known is not None

    @property
    def any(self) -> bool:
        """Whether something is paused."""
        known = self._known or self.look()
        return bool(known.queues or known.tasks)

    def stop(self, queue: object, task: object) -> bool:
        """Whether jobs of this queue or this task may have to wait."""
        known = self._known or self.look()
        return queue in known.queues or task in known.tasks
