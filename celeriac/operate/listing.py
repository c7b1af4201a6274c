"""Pages of jobs by any filter, and the job whose id begins with a given text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.application import current_app
from celeriac.errors import AmbiguousId, BadArgument, JobNotFound
from celeriac.headers import other_task_id
from celeriac.ids import optional_id, parse_row_id
from celeriac.ledger.reads import job_pages as ledger
from celeriac.ledger.reads.job_filter import Filter, settled
from celeriac.ledger.reads.job_pages import Key, Sort
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import NO_WORKER, WorkerName
from celeriac.operate.job import LARGEST_PAGE, PAGE

if TYPE_CHECKING:
    from celeriac.application import Celeriac

__all__ = [
    "Filter",
    "JobState",
    "ListedJob",
    "Page",
    "Sort",
    "count",
    "count_failures",
    "page",
    "parse_moment",
    "prefix",
    "resolve",
]

#: Failures that a page searches for a text, so that this costs the same in a large table.
MOST_SEARCHED = 10_000

_DIGITS = 32  # of a UUID
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)", re.I)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SHOWN = 3  # ids of an ambiguous one


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """A job as a list shows it."""

    id: str
    task: str
    state: JobState
    queue: str
    priority: int
    user_id: str | None
    schedule: str | None
    queued: datetime
    next_attempt_after: datetime
    dispatched: datetime | None
    started: datetime | None
    finished: datetime | None
    try_count: int
    max_tries: int
    cancel_requested: str | None
    worker_id: str | None
    last_worker_id: str | None  # the worker that claimed it last
    worker: str | None  # the node name of that worker; None: nobody claimed it, or its row is pruned
    error: str | None  # the beginning of the last failure
    arguments: str | None  # their beginning, with what is sensitive hidden; None: not known
    task_id: str | None = None  # Celery's id of it where that is another text than ``id``; None: it is ``id``
    worker_version: str | None = None  # that worker's version of Celeriac
    code_version: str | None = None  # that worker's CELERIAC_CODE_VERSION; None also: it had none


@dataclass(frozen=True, slots=True)
class Page:
    jobs: tuple[ListedJob, ...]
    next: str | None  # pass it as ``after`` for the next page; None: this is the last one
    clock: datetime | None  # the database's; None: there is no job
    looked_at: int | None = None  # the search for an error ended after so many failures; None: it did not


def page(
    wanted: Filter,
    *,
    sort: Sort = Sort.NEWEST,
    limit: int = PAGE,
    after: str | None = None,
    look_at: int | None = None,
    app: Celeriac | None = None,
) -> Page:
    """A page of the jobs that match.

    Args:
        limit: at most so many, up to 1,000.
        after: ``next`` of the page before.
        look_at: failures that are searched for ``wanted.error``, for lists by acceptance; None: all. A page
            may have few jobs then, or none, and still a ``next``, which goes on with older failures.

    Raises:
        BadArgument: an argument has no meaning.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise BadArgument("limit", f"wanted 1 to {LARGEST_PAGE}, found {limit!r}")
    key = None if after is None else _parse_key(after)
    platform = current_app(app)
    with platform.database.reading() as connection:
        wanted = settled(connection, wanted)
        last = _last_looked_at(connection, wanted, sort=sort, after=key, most=look_at)
        rows = ledger.page(connection, wanted, sort=sort, limit=limit + 1, after=key, down_to=last)
        names = worker_rows.names(connection, _worker_ids(rows))
    more, rows = len(rows) > limit, rows[:limit]
    following = (ledger.moment_of(rows[-1], sort), rows[-1].id) if more else last
    return Page(
        jobs=tuple(_listed_job(row, names) for row in rows),
        next=None if following is None else f"{following[0].isoformat()}/{following[1]}",
        clock=rows[0].clock if rows else None,
        looked_at=None if more or last is None else look_at,
    )


def _last_looked_at(connection: Any, wanted: Filter, *, most: int | None, **order: Any) -> Key | None:
    return None if most is None else ledger.last_looked_at(connection, wanted, most=most, **order)


def count(wanted: Filter, *, most: int, app: Celeriac | None = None) -> int:
    """How many jobs match; ``most`` when there are as many or more."""
    with current_app(app).database.reading() as connection:
        return ledger.count(connection, wanted, most=most)


def count_failures(
    wanted: Filter, *, look_at: int, app: Celeriac | None = None
) -> tuple[dict[JobState, int], bool]:
    """How many jobs match a filter by error, by state; and whether all failures were looked at.

    Args:
        look_at: as of ``page``, the newest.
    """
    with current_app(app).database.reading() as connection:
        wanted = settled(connection, wanted)
        last = ledger.last_looked_at(connection, wanted, sort=Sort.NEWEST, most=look_at)
        return ledger.count_by_state(connection, wanted, down_to=last), last is None


def resolve(text: str, *, app: Celeriac | None = None) -> str:
    """The id of the job whose task id is ``text``, or the only id that begins with it.

    Raises:
        BadArgument: ``text`` can be neither.
        JobNotFound: there is no such job.
        AmbiguousId: several do.
    """
    named = parse_row_id(text, name="id")
    if optional_id(text) or page(Filter(ids=(named, named)), limit=1, app=app).jobs:
        return str(named)
    found = page(Filter(ids=prefix(text)), limit=_SHOWN, app=app).jobs if _begins_an_id(text) else ()
    if not found:
        raise JobNotFound(text)
    if len(found) > 1:
        raise AmbiguousId(text, [job.id for job in found])
    return found[0].id


def prefix(text: str) -> tuple[UUID, UUID]:
    """The first and the last id that begin with ``text``.

    >>> prefix("0192d3a4-0000")[1]
    UUID('0192d3a4-0000-ffff-ffff-ffffffffffff')

    Raises:
        BadArgument: none does.
    """
    digits = text.replace("-", "")
    if not _begins_an_id(text):
        raise BadArgument("id", f"wanted a job's id or the beginning of one, found {text[:80]!r}")
    return UUID(digits.ljust(_DIGITS, "0")), UUID(digits.ljust(_DIGITS, "f"))


def _begins_an_id(text: str) -> bool:
    return re.fullmatch(f"[0-9a-fA-F]{{1,{_DIGITS}}}", text.replace("-", "")) is not None


def parse_moment(text: str) -> datetime | timedelta:
    """A moment in ISO 8601 (UTC unless it names an offset), or a span before now.

    >>> parse_moment("90m"), parse_moment("2030-01-01")
    (datetime.timedelta(seconds=5400), datetime.datetime(2030, 1, 1, 0, 0, tzinfo=datetime.timezone.utc))

    Raises:
        ValueError: neither.
    """
    if span := _SPAN.fullmatch(text.strip()):
        return timedelta(seconds=float(span[1]) * _SECONDS[span[2].lower()])
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _parse_key(text: str) -> tuple[datetime, UUID]:
    moment, _, job = text.partition("/")
    try:
        found = datetime.fromisoformat(moment)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)), UUID(job)
    except ValueError:
        raise BadArgument(
            "after", f"wanted the key that ended the page before, found {text[:80]!r}"
        ) from None


def _arguments(args: str | None, kwargs: str | None) -> str | None:
    """Both in one line, without what is empty.

    >>> _arguments("(7,)", "{}"), _arguments("()", "{'to': 'a'}"), _arguments("()", "{}")
    ('(7,)', "{'to': 'a'}", '')
    """
    if args is None and kwargs is None:
        return None
    return " ".join(text for text in (args, kwargs) if text and text not in ("()", "[]", "{}"))


def _worker_ids(rows: Sequence[Any]) -> set[UUID]:
    return {row.last_worker_id or row.worker_id for row in rows} - {None}


def _listed_job(row: Any, names: Mapping[UUID, WorkerName]) -> ListedJob:
    worker = names.get(row.last_worker_id or row.worker_id, NO_WORKER)
    return ListedJob(
        id=str(row.id),
        task=row.job_type,
        state=JobState(row.state),
        queue=row.queue,
        priority=row.priority,
        user_id=row.user_id,
        schedule=row.schedule,
        queued=row.queued,
        next_attempt_after=row.next_attempt_after,
        dispatched=row.dispatched,
        started=row.started,
        finished=row.finished,
        try_count=row.try_count,
        max_tries=row.max_tries,
        cancel_requested=row.cancel_requested,
        worker_id=None if row.worker_id is None else str(row.worker_id),
        last_worker_id=None if row.last_worker_id is None else str(row.last_worker_id),
        worker=worker.host,
        worker_version=worker.version,
        code_version=worker.code_version,
        error=row.error,
        arguments=_arguments(row.args, row.kwargs),
        task_id=other_task_id(row.task_id, row.id),
    )
