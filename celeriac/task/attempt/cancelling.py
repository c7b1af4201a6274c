"""What a running task asks of the ledger: whether somebody wants it to stop."""

from __future__ import annotations

import time
from typing import Any

from celeriac.ids import parse_row_id
from celeriac.ledger.writes.cancel import is_requested

_LOOK = 1.0  # seconds between two looks of a task for a cancel request
_PATIENCE = 5.0  # seconds that one of them may take


def cancel_requested(task: Any) -> bool:
    """Whether somebody asked that the running job of ``task`` stop; read at most once a second."""
    request = task.request
    if request.called_directly or request.is_eager:
        return False
    asked, seen = request.__dict__.get("celeriac_cancel", (0.0, False))
    if not seen and time.monotonic() - asked >= _LOOK:
        with task.app.database.reading(within=_PATIENCE) as connection:
            seen = is_requested(connection, parse_row_id(request.id))
        request.celeriac_cancel = (time.monotonic(), seen)
    return bool(seen)
