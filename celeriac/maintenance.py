"""The platform's own tasks and the schedule of one. Every app has them, whatever its settings are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: The name of the task that deletes rows older than their retention.
PRUNE = "maintenance.prune"

#: The name of the task that sends an alert.
ALERT = "maintenance.alert"

_SCHEDULE: Mapping[str, Any] = {
    "prune the ledger": {"task": PRUNE, "schedule": 86_400.0, "options": {"priority": "low"}},
}


def register(app: Celeriac) -> None:
    """Give ``app`` the tasks."""
    app.task(name=PRUNE, max_tries=2, time_limit=3600, shared=False)(prune)
    app.task(name=ALERT, bind=True, priority="critical", max_tries=8, time_limit=60, shared=False)(alert)


def prune() -> dict[str, int]:
    """Delete terminal rows that are older than their retention; returns how many went, by kind."""
    from celeriac.retention import (
        prune as prune_ledger,  # imports the ORM, which is slow
    )

    return prune_ledger()


def alert(self: Any, channel: str, message: Mapping[str, Any]) -> None:
    """Send an alert by the channel webhook, slack or email; it is tried again until it is taken."""
    from celeriac.notify import alert_job

    alert_job.send(self.app.settings, channel, message, id=str(self.request.id), attempt=self.attempt)


def with_ours(entries: Mapping[Any, Any]) -> dict[Any, Any]:
    """Add the platform's own schedules to ``entries``, unless a schedule of the same task is there."""
    theirs = {_task(entry) for entry in entries.values()}
    ours = {name: entry for name, entry in _SCHEDULE.items() if entry["task"] not in theirs}
    return {**ours, **entries}


def _task(entry: Any) -> object:
    return entry.get("task") if isinstance(entry, Mapping) else getattr(entry, "task", None)
