"""What the ledger says of results, as Celery's result metas."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import celery.exceptions
from celery import states
from celery.exceptions import TaskRevokedError
from kombu.utils.json import loads

from celeriac.errors import ResultLost, UnreadableError
from celeriac.events import Event
from celeriac.ids import row_id
from celeriac.ledger.reads import job_rows
from celeriac.ledger.reads.job_rows import Ending
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import LOST

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: The state of an id that neither Redis nor the ledger knows; plain Celery says PENDING for ever.
UNKNOWN = "UNKNOWN"

STATUS = {
    JobState.PENDING: states.PENDING,
    JobState.RUNNING: states.STARTED,  # where that is wanted
    JobState.COMPLETED: states.SUCCESS,
    JobState.ERROR: states.RETRY,
    JobState.FAILED: states.FAILURE,
    JobState.CANCELLED: states.REVOKED,
}


def answers(app: Celeriac, task_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The metas of ``task_ids``; ids without a row are missing, and all of them when nobody answers."""
    wanted = {text: job for text in task_ids if (job := row_id(text)) is not None}
    if not wanted:
        return []
    try:
        with app.database.reading() as connection:
            found = job_rows.endings(connection, list(dict.fromkeys(wanted.values())))
        return [meta_of(app, found[job], text) for text, job in wanted.items() if job in found]
    except Exception as exc:  # neither store can be reached: the caller waits on
        logger.warning(Event.LEDGER_NOT_ASKED, {"error": type(exc).__name__})
        return []


def final(meta: dict[str, Any]) -> bool:
    return meta["status"] in states.READY_STATES


def _exception(line: str) -> Exception:
    """The exception of a row's failure (``kind: type: text``), as far as it can be rebuilt."""
    _, _, described = line.partition(": ")
    name, _, text = described.partition(": ")
    module, _, own = name.rpartition(".")
    known = getattr(sys.modules.get(module or "builtins"), own, None) or getattr(celery.exceptions, own, None)
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(text)
        except Exception:  # its constructor wants other arguments; the caller must not wait for ever
            return UnreadableError(name, text)
    return UnreadableError(name or "failed", text)


def _status(app: Celeriac, ending: Ending) -> str:
    """As Celery has it, a running job is PENDING unless somebody asked for STARTED: callers poll for that."""
    if ending.state is JobState.RUNNING:
        task = app.tasks.get(ending.job_type)
        tracked = app.conf.task_track_started if task is None else task.track_started
        return str(states.STARTED if tracked else states.PENDING)
    return str(STATUS[ending.state])


def meta_of(app: Celeriac, ending: Ending, task_id: str) -> dict[str, Any]:
    """The meta of one job."""
    status = _status(app, ending)
    result: Any = None
    if ending.result == LOST:  # Celery has no state for it: .get() raises in this one
        status, result = states.FAILURE, ResultLost(task_id)
    elif ending.state is JobState.COMPLETED and ending.result is not None:
        result = loads(ending.result)
    elif ending.state is JobState.FAILED:
        result = _exception(ending.failure_info or "failed")
    elif ending.state is JobState.CANCELLED:
        result = TaskRevokedError(ending.failure_info or "cancelled")
    return {
        "task_id": task_id,
        "status": status,
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": ending.finished and ending.finished.isoformat(),
    }
