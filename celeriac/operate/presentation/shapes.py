"""What is told of jobs, queues, workers and schedules as JSON, by the commands and by the console alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

from celeriac.display import safe, stamp

if TYPE_CHECKING:
    from celeriac.ledger.writes.dead_letters import Group
    from celeriac.operate.alerts.mutes import Mute
    from celeriac.operate.dead_letters import Cause
    from celeriac.operate.overview import QueueStatus, WorkerStatus
    from celeriac.schedules import Schedule

#: The version of all JSON shapes. It rises when a field is removed or changes its meaning, not for a new one.
VERSION = 1

_KEY = 8  # digits of the key of a group


def document(command: str, **values: Any) -> dict[str, Any]:
    """One JSON object: version and command, then the values."""
    return {"version": VERSION, "command": command, **plain(values)}


def plain(value: Any) -> Any:
    """``value`` for JSON: moments in ISO 8601 and UTC, durations in seconds, other types as text.

    >>> plain(float("nan"))  # which JSON does not have
    'nan'
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value)


def queue_shape(queue: QueueStatus) -> dict[str, Any]:
    return {**plain(queue), "drift": None if queue.capped else queue.drift}


def worker_shape(status: WorkerStatus) -> dict[str, Any]:
    jobs = [
        {"id": str(one.id), "task": one.task, "attempt": one.attempt, "seconds": one.since.total_seconds()}
        for one in status.jobs
    ]
    rescued_in = plain(status.rescued_in)
    return {**plain(status.worker), "state": status.state, "jobs": jobs, "rescued_in": rescued_in}


def is_group_key(text: str) -> bool:
    """Whether this is the key of a group of dead letters; the beginning of an id is longer or has a dash.

    >>> is_group_key("1b80fd80"), is_group_key("0192d3a4-0000")
    (True, False)
    """
    return len(text) == _KEY and all(digit in "0123456789abcdef" for digit in text.lower())


def cause_shape(cause: Cause) -> dict[str, Any]:
    named = {"task": cause.task, "exception_type": cause.exception_type, "frame": cause.frame}
    return {"key": cause.key, **named}


def group_shape(group: Group, mutes: Mapping[str, Mute] | None = None) -> dict[str, Any]:
    """A group of dead letters; ``muted``: how, or null."""
    when = {"first": plain(group.first), "last": plain(group.last)}
    from celeriac.operate.dead_letters import Cause

    told = cause_shape(Cause.of(group)) | {"count": group.count, "example": group.example} | when
    return told | {"muted": mute_shape((mutes or {}).get(told["key"]))}


def mute_shape(mute: Mute | None) -> dict[str, Any] | None:
    """Until when, by whom and why a group is muted."""
    return None if mute is None else {name: plain(getattr(mute, name)) for name in _OF_MUTE}


def mute_in_words(mute: Mute) -> str:
    """Until when, by whom and why.

    >>> from celeriac.operate.alerts.mutes import Mute
    >>> at = datetime(2030, 1, 1, tzinfo=UTC)
    >>> mute_in_words(Mute(key="1b80fd80", since=at, until=None, who="ann", reason="known", size=3))
    'muted by ann since 2030-01-01 00:00:00 UTC, until it changes: known'
    """
    end = "it changes" if mute.until is None else f"{stamp(mute.until)} or it changes"
    why = f": {safe(mute.reason)}" if mute.reason else ""
    return f"muted by {safe(mute.who)} since {stamp(mute.since)}, until {end}{why}"


_OF_MUTE = ("since", "until", "who", "reason", "size")


def schedule_shape(found: Schedule) -> dict[str, Any]:
    """A schedule as values that are not plain yet. What is sensitive is hidden."""
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    from celeriac.enqueue.arguments import represent

    hidden = {"args": represent(tuple(found.args)), "kwargs": represent(dict(found.kwargs))}
    return values | hidden | {"description": found.description, "state": schedule_state(found)}


def schedule_state(found: Schedule) -> str:
    """In a word: enabled, disabled, over (nothing is to come), retired (it left its file)."""
    if found.retired is not None:
        return "retired"
    if not found.enabled:
        return "disabled"
    return "enabled" if found.next_run is not None else "over"
