"""Looks for actions on many jobs that nobody carries out, and carries them out in threads of this process.

A new one is such an action, and so is one whose process died: its row is touched no more.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING
from uuid import UUID

from celeriac.events import Event
from celeriac.ids import new_uuid
from celeriac.ledger.connection.database import UNREACHABLE
from celeriac.ledger.operators import operations as ledger
from celeriac.operate.acting.carry_out import carry_out
from celeriac.operate.actions import Via

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Seconds without a sign after which a console's action is taken over, and a command's is ended.
SILENT, COMMAND_SILENT = 10.0, 60.0

_EVERY = 2.0  # seconds between two looks
_AT_ONCE = 3  # actions that one process carries out

_COMMAND_DIED = "the command that carried it out ended before it was done"


class Runner:
    """Of one process. It begins to look at ``start``, and ends at ``close``."""

    def __init__(self, app: Celeriac) -> None:
        self.id = new_uuid()
        self._app = app
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._woken = threading.Event()
        self._looking: threading.Thread | None = None
        self._carrying: dict[UUID, threading.Thread] = {}

    def start(self) -> None:
        """Begin to look, unless it does already."""
        with self._lock:
            if self._looking is None and not self._closing.is_set():
                self._looking = threading.Thread(target=self._look_out, name="console-look", daemon=True)
                self._looking.start()

    def wake(self) -> None:
        """Look now: there is a new one."""
        self._woken.set()
        self.start()

    def close(self, *, within: float = 5.0) -> None:
        """End after the batches that it is at; another process, or the next start, goes on with the rest."""
        with self._lock:
            self._closing.set()
        self._woken.set()
        for thread in [self._looking, *self._carrying.values()]:
            if thread is not None:
                thread.join(within)

    def _look_out(self) -> None:
        while not self._closing.is_set():
            try:
                self._take_what_is_left()
            except UNREACHABLE:
                pass  # it looks again
            except Exception:  # the loop must live: nobody else looks in this process
                logger.exception(Event.CONSOLE_FAILED, {"path": "/operations"})
            self._woken.wait(_EVERY)
            self._woken.clear()

    def _take_what_is_left(self) -> None:
        database = self._app.database
        with database.reading() as connection:
            if not ledger.is_waiting(connection, silent=SILENT):
                return
        database.again(
            lambda connection: ledger.end_left(
                connection, via=Via.CLI, silent=COMMAND_SILENT, error=_COMMAND_DIED
            )
        )
        while len(self._carrying) < _AT_ONCE and not self._closing.is_set():
            taken = database.again(
                lambda connection: ledger.take(connection, self.id, silent=SILENT, but=Via.CLI)
            )
            if taken is None:
                return
            thread = threading.Thread(target=self._carry, args=(taken,), name="console-act", daemon=True)
            self._carrying[taken] = thread
            thread.start()

    def _carry(self, id: UUID) -> None:
        try:
            carry_out(self._app, id, self.id, stopping=self._closing)
            if self._closing.is_set():
                self._app.database.again(lambda connection: ledger.release(connection, id, self.id))
        except UNREACHABLE:
            pass  # its row is touched no more: another process takes it
        except Exception:  # the row says why; a bug of ours must be in the log as well
            logger.exception(Event.CONSOLE_FAILED, {"path": f"/operations/{id}"})
        finally:
            del self._carrying[id]
            self._woken.set()
