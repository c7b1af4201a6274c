"""Read and cancel jobs: ``job(id)`` for one, ``jobs(…)`` for a page of them, ``cancel(id)``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from kombu.utils.json import dumps as encode
from kombu.utils.json import loads as decode

from celeriac.application import current_app
from celeriac.broker.body import decoded
from celeriac.errors import BadArgument, JobNotFound
from celeriac.headers import other_task_id
from celeriac.ids import parse_row_id
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import job_pages, job_rows
from celeriac.ledger.reads.job_filter import Filter, settled
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.ledger.schema.models import LOST
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import NO_WORKER, WorkerName
from celeriac.ledger.writes.cancel import Answer, Mode, cancel_fitting
from celeriac.ledger.writes.cancel import cancel as request_cancel

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

#: Jobs of one page: the default, and the most.
PAGE, LARGEST_PAGE = 50, 1000

_BATCH = 500

_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that was not successful. Moments are aware, in UTC.

    >>> id = welcome.delay(13).id
    >>> dead = kit.drain()
    >>> attempt = job(id).attempts[0]
    >>> attempt.attempt, attempt.kind, attempt.exception_type, attempt.exception
    (1, 'error', 'ConnectionError', 'no mail server')
    """

    attempt: int  # 1 for the first; 0 for a delivery that never ran
    kind: str  # error, timeout, lost, rejected, invalid, cancelled
    exception_type: str | None  # module and class; None: no exception was raised
    exception: str | None  # what it said
    frame: str | None  # the place that raised, as file:function
    traceback: str | None  # of the exception
    worker_id: str | None  # the start of a worker that had the job; None: none had it
    started: datetime | None  # None: it never began
    finished: datetime  # when its end was recorded
    worker: str | None = None  # the worker's node name; None: none had it
    version: str | None = None  # that worker's version of Celeriac
    code_version: str | None = None  # that worker's CELERIAC_CODE_VERSION; None also: it had none


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Job:
    """A job as it was when it was read. Moments are aware, in UTC.

    >>> job(welcome.delay(7).id)
    <Job 0... mail.welcome pending, 0 of 1 tries>
    """

    id: str  # Celery's task id
    task: str  # its name
    state: JobState  # see there
    queue: str  # critical, high, normal, low; another's for what was adopted
    priority: int  # 0 to 100, higher is more important
    args: Sequence[Any] | None  # None: the payload cannot be read
    kwargs: Mapping[str, Any] | None  # None: the payload cannot be read
    user_id: str | None  # on whose behalf; None: nobody said
    idempotency_key: str | None  # the caller's; None: none was given
    schedule: str | None  # the name of the one that made it; None: a call did
    queued: datetime  # when it was accepted
    next_attempt_after: datetime  # no attempt begins before it; the years 9998 and 9999: it waits for others
    dispatched: datetime | None  # when its message was sent last; None: no message is on its way
    started: datetime | None  # of the last attempt; None: none has begun
    finished: datetime | None  # when it was over; None: it is not
    expires: datetime | None  # it is cancelled if no attempt has begun by then; None: never
    try_count: int  # attempts that were claimed and not released
    max_tries: int  # attempts before it is a dead letter
    timeout: float | None  # seconds an attempt may take, soft; None: no limit of its own
    cancel_requested: str | None  # soft or hard, while it runs and was asked to stop
    worker_id: str | None  # who has claimed it; None: nobody has now
    root_id: str | None  # the job with which its workflow began
    parent_id: str | None  # the job that enqueued it; None: no job did
    group_id: str | None  # of a group or chord; None: it is in none
    result: Any  # what the function returned; None also while there is nothing
    failure_info: str | None  # the last failure in a line; for a cancelled job why
    attempts: tuple[Attempt, ...] = ()  # those that failed, the first first; ``jobs`` leaves them out
    last_worker_id: str | None = None  # who claimed it last, also when it has ended
    worker: str | None = None  # that worker's node name; None: nobody claimed it
    worker_version: str | None = None  # that worker's version of Celeriac
    code_version: str | None = None  # that worker's CELERIAC_CODE_VERSION; None also: it had none
    result_lost: bool = False  # it returned something of which the ledger has no copy
    task_id: str | None = None  # Celery's id of it where that is another text than ``id``; None: it is ``id``
    unique_key: str | None = None  # which it had, or has, among all calls that mean the same; None: none
    follows: str | None = None  # the job whose result it takes; its own: not decided yet; None: none

    def __repr__(self) -> str:
        """Id, task, state and tries. No arguments: one of them could be a secret."""
        return f"<Job {self.id} {self.task} {self.state}, {self.try_count} of {self.max_tries} tries>"

    @property
    def is_terminal(self) -> bool:
        """Whether it is over: completed, failed or cancelled.

        >>> job(welcome.delay(7).id).is_terminal
        False
        """
        return self.state in TERMINAL

    @property
    def ready_for_retry(self) -> bool:
        """Whether an attempt failed and the next one is due, by this machine's clock.

        >>> job(welcome.delay(7).id).ready_for_retry
        False
        """
        return self.state is JobState.ERROR and self.next_attempt_after <= datetime.now(UTC)

    def to_dict(self) -> dict[str, Any]:
        """A dict of plain values; moments are datetimes. ``from_dict`` reads it.

        >>> job(welcome.delay(7).id).to_dict()["task"]
        'mail.welcome'
        """
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        attempts = [{f.name: getattr(attempt, f.name) for f in fields(attempt)} for attempt in self.attempts]
        return plain | {"state": str(self.state), "attempts": attempts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The job that ``to_dict`` was called on.

        >>> one = job(welcome.delay(7).id)
        >>> Job.from_dict(one.to_dict()) == one
        True
        """
        attempts = tuple(Attempt(**attempt) for attempt in values.get("attempts", ()))
        return cls(**{**values, "state": JobState(values["state"]), "attempts": attempts})

    def to_json(self) -> str:
        """JSON that keeps datetimes and other types; ``from_json`` reads it.

        >>> job(welcome.delay(7).id).to_json()
        '{"id": "0...", "task": "mail.welcome", "state": "pending", ...}'
        """
        text: str = encode(self.to_dict())
        return text

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The job that ``to_json`` was called on.

        >>> one = job(welcome.delay(7).id)
        >>> Job.from_json(one.to_json()) == one
        True
        """
        return cls.from_dict(decode(text))


def job(id: str, *, app: Celeriac | None = None) -> Job:
    """The job ``id`` with its attempts.

    Raises:
        BadArgument: ``id`` can be no job's.
        JobNotFound: the ledger has no such job.

    >>> result = welcome.delay(7)
    >>> job(result.id).state
    <JobState.PENDING: 'pending'>
    """
    wanted = parse_row_id(id, name="id")
    with current_app(app).database.reading() as connection:
        row = job_rows.find(connection, wanted)
        if row is None:
            raise JobNotFound(str(id))
        attempts = job_rows.attempts(connection, [wanted])
        return _job(row, attempts, _names(connection, [row], attempts))


def jobs(
    *,
    state: JobState | str | None = None,
    task: str | None = None,
    queue: str | None = None,
    user_id: str | None = None,
    since: datetime | None = None,
    limit: int = PAGE,
    after: Job | None = None,
    app: Celeriac | None = None,
) -> list[Job]:
    """Jobs, newest first, without their attempts.

    Args:
        since: queued at or after; aware.
        limit: at most so many, up to 1,000.
        after: the last job of the page before.

    Raises:
        BadArgument: an argument has no meaning.

    >>> result = welcome.delay(7)
    >>> jobs(state="pending", task="mail.welcome", limit=10)
    [<Job 0... mail.welcome pending, 0 of 1 tries>]
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise BadArgument("limit", f"wanted 1 to {LARGEST_PAGE}, found {limit!r}")
    if since is not None and since.tzinfo is None:
        raise BadArgument("since", f"wanted an aware datetime, found {since!r}")
    wanted = Filter(state=_state(state), task=task, queue=queue, user_id=user_id, since=since)
    key = None if after is None else (after.queued, parse_row_id(after.id, name="after"))
    with current_app(app).database.reading() as connection:
        rows = job_pages.page(connection, wanted, limit=limit, after=key, whole=True)
        names = _names(connection, rows, ())
        return [_job(row, (), names) for row in rows]


def cancel(id: str, *, hard: bool = False, app: Celeriac | None = None) -> Answer:
    """Cancel a job for ever; return what was done.

    A waiting job is cancelled at once. A running one is asked to stop: it reads
    ``self.cancel_requested``; with ``hard`` its child is terminated (burst and prefork).

    Raises:
        BadArgument: ``id`` can be no job's.

    >>> cancel(welcome.delay(7).id)
    <Answer.CANCELLED: 'cancelled'>
    """
    wanted = parse_row_id(id, name="id")
    return _cancel(current_app(app), [wanted], hard)[wanted]


def cancel_all(
    *,
    state: JobState | str | None = None,
    task: str | None = None,
    queue: str | None = None,
    user_id: str | None = None,
    since: datetime | None = None,
    hard: bool = False,
    dry_run: bool = False,
    app: Celeriac | None = None,
) -> int:
    """Cancel every unfinished job that matches; return how many jobs were cancelled or asked to stop.

    Args:
        since: queued at or after; aware.
        dry_run: only count.

    Raises:
        BadArgument: there is no such ``state``.

    >>> result = welcome.delay(7)
    >>> cancel_all(task="mail.welcome", dry_run=True)
    1
    """
    wanted = Filter(state=_state(state), task=task, queue=queue, user_id=user_id, since=since)
    return cancel_matching(wanted, hard=hard, dry_run=dry_run, app=app)


def cancel_matching(
    wanted: Filter,
    *,
    hard: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    app: Celeriac | None = None,
) -> int:
    """Like ``cancel_all``, with a filter.

    Args:
        progress: called after each batch with the number of jobs so far.
    """
    platform, count, beyond = current_app(app), 0, None
    wanted = as_of_now(wanted, app=platform)
    mode = Mode.HARD if hard else Mode.SOFT
    while True:
        with platform.database.reading() as connection:
            ids = job_rows.unfinished(connection, wanted, limit=_BATCH, beyond=beyond)
        if not ids:
            return count
        beyond = ids[-1]
        cancel_them = partial(cancel_fitting, ids=ids, wanted=wanted, mode=mode)
        count += len(ids) if dry_run else platform.database.again(cancel_them)
        if progress:
            progress(count)


def as_of_now(wanted: Filter, *, app: Celeriac | None = None) -> Filter:
    """``wanted`` without jobs that are enqueued from now on: a cancel meets what was counted."""
    with current_app(app).database.reading() as connection:
        found = settled(connection, wanted)
        if found.until is not None:
            return found
        newest = job_rows.newest(connection)  # it may be in the future, if the clock was set back
        return replace(found, until=max(clock(connection), newest + _MOMENT) if newest else clock(connection))


def _cancel(app: Celeriac, ids: Sequence[UUID], hard: bool) -> dict[UUID, Answer]:
    mode = Mode.HARD if hard else Mode.SOFT
    return app.database.again(lambda connection: request_cancel(connection, ids, mode=mode))


def _state(value: JobState | str | None) -> JobState | None:
    try:
        return None if value is None else JobState(value)
    except ValueError:
        raise BadArgument("state", f"wanted one of {', '.join(JobState)}, found {value!r}") from None


def _names(connection: Connection, rows: Sequence[Any], attempts: Sequence[Any]) -> dict[UUID, WorkerName]:
    ids = {row.last_worker_id or row.worker_id for row in rows} | {attempt.worker_id for attempt in attempts}
    return worker_rows.names(connection, ids - {None})


#: Fields of a job that are columns of its row.
_COLUMNS = (
    *("queue", "priority", "user_id", "idempotency_key", "schedule", "queued", "next_attempt_after"),
    *("dispatched", "started", "finished", "expires", "try_count", "max_tries", "timeout"),
    *("cancel_requested", "failure_info", "unique_key"),
)


def _job(row: Any, attempts: Sequence[Any], names: Mapping[UUID, WorkerName]) -> Job:
    args, kwargs = _arguments(row)
    worker = names.get(row.last_worker_id or row.worker_id, NO_WORKER)
    return Job(
        **{name: getattr(row, name) for name in _COLUMNS},
        id=str(row.id),
        task=row.job_type,
        state=JobState(row.state),
        args=args,
        kwargs=kwargs,
        worker_id=_text(row.worker_id),
        root_id=_text(row.root_id),
        parent_id=_text(row.parent_id),
        group_id=_text(row.group_id),
        result=_result(row.result),
        result_lost=row.result == LOST,
        attempts=tuple(_attempt(attempt, names) for attempt in attempts),
        last_worker_id=_text(row.last_worker_id or row.worker_id),
        worker=worker.host,
        worker_version=worker.version,
        code_version=worker.code_version,
        task_id=other_task_id(row.headers.get("id"), row.id),
        follows=_text(row.follows),
    )


def _result(text: str | None) -> Any:
    try:
        return None if text is None or text == LOST else decode(text)
    except Exception:  # it looks like an encoded type and is none: read it as plain JSON
        return json.loads(text or "null")


def _attempt(row: Any, names: Mapping[UUID, WorkerName]) -> Attempt:
    worker = names.get(row.worker_id, NO_WORKER)
    return Attempt(
        attempt=row.attempt,
        kind=row.kind,
        exception_type=row.exception_type,
        exception=row.exception,
        frame=row.frame,
        traceback=row.traceback,
        worker_id=_text(row.worker_id),
        started=row.started,
        finished=row.finished,
        worker=worker.host,
        version=worker.version,
        code_version=worker.code_version,
    )


def _arguments(row: Any) -> tuple[Sequence[Any] | None, Mapping[str, Any] | None]:
    body = decoded(row)
    return (None, None) if body is None else (body[0], body[1])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
