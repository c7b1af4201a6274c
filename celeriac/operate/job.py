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
from celeriac.ids import parse_id
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import job_pages, job_rows
from celeriac.ledger.reads.job_rows import Filter
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.ledger.schema.models import LOST
from celeriac.ledger.upkeep import worker_rows
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
    """An attempt that was not successful."""

    attempt: int  # 1 for the first; 0 for a delivery that never ran
    kind: str
    exception_type: str | None
    exception: str | None
    frame: str | None
    traceback: str | None
    worker_id: str | None
    started: datetime | None
    finished: datetime
    worker: str | None = None  # the worker's node name; None: its row is pruned


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Job:
    """A job as it was when it was read. Moments are aware, in UTC."""

    id: str
    task: str
    state: JobState
    queue: str
    priority: int
    args: Sequence[Any] | None  # None: the payload cannot be read
    kwargs: Mapping[str, Any] | None
    user_id: str | None
    idempotency_key: str | None
    schedule: str | None
    queued: datetime
    next_attempt_after: datetime
    dispatched: datetime | None
    started: datetime | None
    finished: datetime | None
    expires: datetime | None
    try_count: int
    max_tries: int
    timeout: float | None
    cancel_requested: str | None
    worker_id: str | None
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    result: Any
    failure_info: str | None
    attempts: tuple[Attempt, ...] = ()
    last_worker_id: str | None = None  # who claimed it last, also when it has ended
    worker: str | None = None  # that worker's node name; None: nobody claimed it, or its row is pruned
    result_lost: bool = False  # it returned something of which the ledger has no copy

    def __repr__(self) -> str:
        """Id, task, state and tries. No arguments: one of them could be a secret."""
        return f"<Job {self.id} {self.task} {self.state}, {self.try_count} of {self.max_tries} tries>"

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def ready_for_retry(self) -> bool:
        """Whether an attempt failed and the next one is due, by this machine's clock."""
        return self.state is JobState.ERROR and self.next_attempt_after <= datetime.now(UTC)

    def to_dict(self) -> dict[str, Any]:
        """A dict of plain values; moments are datetimes. ``from_dict`` reads it."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        attempts = [{f.name: getattr(attempt, f.name) for f in fields(attempt)} for attempt in self.attempts]
        return plain | {"state": str(self.state), "attempts": attempts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        attempts = tuple(Attempt(**attempt) for attempt in values.get("attempts", ()))
        return cls(**{**values, "state": JobState(values["state"]), "attempts": attempts})

    def to_json(self) -> str:
        """JSON that keeps datetimes and other types; ``from_json`` reads it."""
        text: str = encode(self.to_dict())
        return text

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls.from_dict(decode(text))


def job(id: str, *, app: Celeriac | None = None) -> Job:
    """The job ``id`` with its attempts.

    Raises:
        BadArgument: ``id`` is no UUID.
        JobNotFound: the ledger has no such job.
    """
    wanted = parse_id(id, name="id")
    with current_app(app).database.reading() as connection:
        row = job_rows.find(connection, wanted)
        if row is None:
            raise JobNotFound(str(wanted))
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
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise BadArgument("limit", f"wanted 1 to {LARGEST_PAGE}, found {limit!r}")
    if since is not None and since.tzinfo is None:
        raise BadArgument("since", f"wanted an aware datetime, found {since!r}")
    wanted = Filter(state=_state(state), task=task, queue=queue, user_id=user_id, since=since)
    key = None if after is None else (after.queued, parse_id(after.id, name="after"))
    with current_app(app).database.reading() as connection:
        rows = job_pages.page(connection, wanted, limit=limit, after=key, whole=True)
        names = _names(connection, rows, ())
        return [_job(row, (), names) for row in rows]


def cancel(id: str, *, hard: bool = False, app: Celeriac | None = None) -> Answer:
    """Cancel a job for ever; return what was done.

    A waiting job is cancelled at once. A running one is asked to stop: it reads
    ``self.cancel_requested``; with ``hard`` its child is terminated (prefork only).

    Raises:
        BadArgument: ``id`` is no UUID.
    """
    wanted = parse_id(id, name="id")
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
        dry_run: only count.
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
        settled = job_rows.with_instants(connection, wanted)
        if settled.until is not None:
            return settled
        newest = job_rows.newest(connection)  # it may be in the future, if the clock was set back
        return replace(
            settled, until=max(clock(connection), newest + _MOMENT) if newest else clock(connection)
        )


def _cancel(app: Celeriac, ids: Sequence[UUID], hard: bool) -> dict[UUID, Answer]:
    mode = Mode.HARD if hard else Mode.SOFT
    return app.database.again(lambda connection: request_cancel(connection, ids, mode=mode))


def _state(value: JobState | str | None) -> JobState | None:
    try:
        return None if value is None else JobState(value)
    except ValueError:
        raise BadArgument("state", f"wanted one of {', '.join(JobState)}, found {value!r}") from None


def _names(connection: Connection, rows: Sequence[Any], attempts: Sequence[Any]) -> dict[UUID, str]:
    ids = {row.last_worker_id or row.worker_id for row in rows} | {attempt.worker_id for attempt in attempts}
    return worker_rows.names(connection, ids - {None})


def _job(row: Any, attempts: Sequence[Any], names: Mapping[UUID, str]) -> Job:
    args, kwargs = _arguments(row)
    return Job(
        id=str(row.id),
        task=row.job_type,
        state=JobState(row.state),
        queue=row.queue,
        priority=row.priority,
        args=args,
        kwargs=kwargs,
        user_id=row.user_id,
        idempotency_key=row.idempotency_key,
        schedule=row.schedule,
        queued=row.queued,
        next_attempt_after=row.next_attempt_after,
        dispatched=row.dispatched,
        started=row.started,
        finished=row.finished,
        expires=row.expires,
        try_count=row.try_count,
        max_tries=row.max_tries,
        timeout=row.timeout,
        cancel_requested=row.cancel_requested,
        worker_id=_text(row.worker_id),
        root_id=_text(row.root_id),
        parent_id=_text(row.parent_id),
        group_id=_text(row.group_id),
        result=_result(row.result),
        result_lost=row.result == LOST,
        failure_info=row.failure_info,
        attempts=tuple(_attempt(attempt, names) for attempt in attempts),
        last_worker_id=_text(row.last_worker_id or row.worker_id),
        worker=names.get(row.last_worker_id or row.worker_id),
    )


def _result(text: str | None) -> Any:
    try:
        return None if text is None or text == LOST else decode(text)
    except Exception:  # it looks like an encoded type and is none: read it as plain JSON
        return json.loads(text or "null")


def _attempt(row: Any, names: Mapping[UUID, str]) -> Attempt:
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
        worker=names.get(row.worker_id),
    )


def _arguments(row: Any) -> tuple[Sequence[Any] | None, Mapping[str, Any] | None]:
    body = decoded(row)
    return (None, None) if body is None else (body[0], body[1])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
