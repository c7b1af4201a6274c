"""The heartbeat in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Connection

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart

logger = logging.getLogger(__name__)


class Heartbeat:
    """
    Args:
        describe: this worker's row, as it is when it signs on.
        queues: the lists that it draws from, which remote control may change.
        trouble: why outcomes cannot be written here; None while they can.
        on_beat: called after each heartbeat that was written.
        on_declared_dead: called when the row was gone or ended, after this worker signed on again.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        describe: Callable[[], WorkerStart],
        queues: Callable[[], list[str]],
        trouble: Callable[[], str | None],
        on_beat: Callable[[], None],
        on_declared_dead: Callable[[], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._describe = describe
        self._queues = queues
        self._written_queues: list[str] | None = None
        self._trouble = trouble
        self._on_beat = on_beat
        self._on_declared_dead = on_declared_dead
        self._written_trouble: str | None = None

    def sign_on(self) -> None:
        with self._database.transaction() as connection:
            self._sign_on(connection)

    def _sign_on(self, connection: Connection) -> None:
        self._written_queues = self._queues()
        worker_rows.sign_on(connection, self._describe())

    def beat(self) -> None:
        """Write a heartbeat; sign on again where the ledger does not know this worker any more."""
        with self._database.statement() as connection:
            known = worker_rows.beat(connection, self._worker)
            if not known:
                self._sign_on(connection)
            elif (drawn := self._queues()) != self._written_queues:
                worker_rows.write_queues(connection, self._worker, drawn)
                self._written_queues = drawn
        if not known:
            logger.warning(Event.DECLARED_DEAD)
            self._on_declared_dead()
        self._on_beat()

    def write_trouble(self) -> None:
        """Write into the ledger why this worker cannot record outcomes, for the doctor and for operators."""
        trouble = self._trouble()
        if (trouble is None) != (self._written_trouble is None):
            with self._database.statement() as connection:
                worker_rows.write_trouble(connection, self._worker, trouble)
            self._written_trouble = trouble
