"""Every attempt of a job, the successful one as well."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.operate.job import Attempt, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAttempt:
    """One attempt, however it ended. Moments are aware, in UTC."""

    attempt: int  # 1 for the first; 0 for a delivery that never ran
    kind: str  # completed, running, or as of an ``Attempt``
    exception_type: str | None
    exception: str | None
    frame: str | None
    traceback: str | None
    worker_id: str | None
    started: datetime | None  # None: it never began
    finished: datetime | None  # None: it runs
    worker: str | None  # the worker's node name
    version: str | None  # that worker's version of Celeriac
    code_version: str | None  # of the code that it ran, by its CELERIAC_CODE_VERSION

    @property
    def took(self) -> timedelta | None:
        """How long it ran; None: it never began, or it runs."""
        if self.started is None or self.finished is None:
            return None
        return max(self.finished - self.started, timedelta(0))


def every_attempt(found: Job) -> list[ShownAttempt]:
    """The attempts of a job, the first first. The last one is in the job's own row, unless it failed."""
    shown = [_failed(attempt) for attempt in found.attempts]
    has_ended_otherwise = found.state is JobState.RUNNING or found.state in TERMINAL
    if has_ended_otherwise and found.started and found.try_count not in {each.attempt for each in shown}:
        shown.append(_last(found))
    return shown


def _failed(attempt: Attempt) -> ShownAttempt:
    return ShownAttempt(**{field.name: getattr(attempt, field.name) for field in fields(Attempt)})


def _last(found: Job) -> ShownAttempt:
    return ShownAttempt(
        attempt=found.try_count,
        kind=str(found.state),
        exception_type=None,
        exception=None,
        frame=None,
        traceback=None,
        worker_id=found.last_worker_id,
        started=found.started,
        finished=found.finished,
        worker=found.worker,
        version=found.worker_version,
        code_version=found.code_version,
    )
