"""What happened to a job, what will, and its arguments as people may see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from celeriac.enqueue import arguments
from celeriac.ledger.schema.columns import FOLLOWING
from celeriac.ledger.schema.lifecycle import TERMINAL, WAITING, AttemptKind, JobState
from celeriac.operate.job import Attempt, Job
from celeriac.operate.presentation.shapes import plain

if TYPE_CHECKING:
    from celeriac.application import Celeriac


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job, or will."""

    at: datetime
    what: str


def timeline(found: Job) -> list[Event]:
    """What happened to a job, in order."""
    events = [Event(found.queued, f"accepted for the queue {found.queue}")]
    if found.dispatched is not None and found.dispatched >= found.queued:
        events.append(Event(found.dispatched, "message sent"))
    for attempt in found.attempts:
        events += _of_attempt(attempt)
    failed = {attempt.attempt for attempt in found.attempts}
    if found.started is not None and found.try_count not in failed:
        worker = found.worker or found.last_worker_id
        events.append(Event(found.started, _began(found.try_count, worker)))
    ordered = sorted(events, key=lambda event: event.at)
    if found.finished is not None:  # always last: both times were written by one statement and may be equal
        ordered.append(Event(found.finished, str(found.state)))
    return ordered


def future(app: Celeriac, found: Job, *, now: datetime) -> list[Event]:
    """What will happen to a job, in order, as far as it is known."""
    events = []
    if found.state in WAITING and now < found.next_attempt_after < FOLLOWING:
        events.append(Event(found.next_attempt_after, f"attempt {found.try_count + 1} is due"))
    if found.state in WAITING and found.expires is not None:
        events.append(Event(found.expires, "expires, unless an attempt has begun"))
    if found.state in TERMINAL and found.finished is not None:
        settings = app.settings
        days = settings.keep_dead_days if found.state is JobState.FAILED else _keep_days(app, found)
        events.append(Event(found.finished + timedelta(days=days), "pruned, at the earliest"))
    return sorted(events, key=lambda event: event.at)


def _keep_days(app: Celeriac, found: Job) -> float:
    """Days that a completed or cancelled job is kept: its task's, or the settings'."""
    own = getattr(app.tasks.get(found.task), "keep_days", None)
    return float(app.settings.keep_days if own is None else own)


def shown_values(app: Celeriac, found: Job, *, reveal: bool = False) -> dict[str, Any]:
    """Arguments and result. Sensitive values are hidden unless ``reveal``."""
    app.loader.import_default_modules()  # the names of a task's parameters show which values are sensitive
    names = () if reveal else app.amqp.parameters(found.task)
    hide = (lambda value, names=(): value) if reveal else arguments.hidden
    return {
        "args": None if found.args is None else plain(hide(list(found.args), names)),
        "kwargs": None if found.kwargs is None else plain(hide(dict(found.kwargs))),
        "result": plain(hide(found.result)),
    }


def _began(attempt: int, worker: str | None) -> str:
    return f"attempt {attempt} began" + (f" on {worker}" if worker else "")


def _of_attempt(attempt: Attempt) -> Iterator[Event]:
    if attempt.started is not None:
        yield Event(attempt.started, _began(attempt.attempt, attempt.worker or attempt.worker_id))
    why = attempt.exception if attempt.kind == AttemptKind.SNOOZED else attempt.exception_type
    error = f": {why}" if why else ""
    yield Event(attempt.finished, f"attempt {attempt.attempt} ended, {attempt.kind}{error}")
