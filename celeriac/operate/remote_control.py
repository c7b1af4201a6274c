"""Celery's remote control, with the ledger behind its revoke: a cancel is for ever.

Plain Celery keeps revoked ids in the memory of the workers that happen to be alive.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from celery.app.control import Control as CeleryControl

from celeriac.events import Event
from celeriac.ids import optional_id
from celeriac.ledger.writes.cancel import Mode, cancel

logger = logging.getLogger(__name__)


class Control(CeleryControl):
    def revoke(
        self,
        task_id: str | list[str],
        destination: Any = None,
        terminate: bool = False,
        signal: Any = "SIGTERM",
        **kwargs: Any,
    ) -> Any:
        """Cancel jobs in the ledger, then tell the workers as Celery does."""
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        wanted: list[UUID] = [job for job in map(optional_id, ids) if job is not None]
        if wanted:
            mode = Mode.HARD if terminate else Mode.SOFT
            self.app.database.again(lambda connection: cancel(connection, wanted, mode=mode))
        return self._tell(task_id, destination, terminate, signal, kwargs)

    def _tell(self, task_id: Any, destination: Any, terminate: bool, signal: Any, kwargs: Any) -> Any:
        try:
            return super().revoke(task_id, destination, terminate, signal, **kwargs)
        except self.app.broker_errors as exc:  # what matters is written; the keepers read it
            logger.warning(Event.REVOKE_NOT_TOLD, {"error": type(exc).__name__})
            return None
