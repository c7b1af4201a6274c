"""What is told of actions as JSON, by ``celery -A app audit``, the pages and the API alike."""

from __future__ import annotations

from typing import Any

from celeriac.operate.acting.operations import Operation
from celeriac.operate.actions import Action
from celeriac.operate.presentation.shapes import plain


def action_shape(action: Action) -> dict[str, Any]:
    """An action; of one on many jobs, ``GET /operations/{id}`` tells more."""
    told = {
        "id": action.id,
        "who": action.who,
        "via": action.via,
        "action": action.action,
        "subject": action.subject,
        "job_id": action.job_id,
        "reason": action.reason,
        "state": action.state,
        "counted": action.counted,
        "done": action.done,
        "began": action.began,
        "ended": action.ended,
        "stopped_by": action.stopped_by,
        "error": action.error,
    }
    return {name: plain(value) for name, value in told.items()}


def operation_shape(one: Operation) -> dict[str, Any]:
    """An action on many jobs, and how far it is."""
    watch = one.canary
    canary = watch and {
        "phase": watch.phase,
        "replayed": watch.begun,
        "succeeded": watch.succeeded,
        "failed": watch.failed,
        "open": len(watch.open),
        "success": one.success,
    }
    more = {"rate": round(one.speed, 1), "at_most": one.rate, "filter": dict(one.words), "canary": canary}
    return {**action_shape(one.action), **plain(more)}
