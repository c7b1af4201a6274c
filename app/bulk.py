"""Many jobs at a time: one statement and one push for each chunk of them.

``enqueue_many`` takes an iterable of any length; ``enqueue_together`` gathers what a block enqueues,
such as a group or a chord of many members.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kombu.utils.json import JSONEncoder

from app import arguments, hand_over, sending
from app.current import meant
from app.enqueue import Door
from app.errors import BadArgument, LedgerUnavailable, PayloadTooLarge
from app.ids import derived_id, new_uuids
from app.ledger.bulk import enqueue_all
from app.ledger.database import UNREACHABLE
from app.ledger.jobs import NewJob
from app.ledger.models import NAME_LENGTH
from app.transactions import write_all

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.application import Celeriac

#: Jobs of one transaction.
CHUNK = 1_000

_JSON = "application/json"
_encode = JSONEncoder(check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Call:
    """One of many jobs.

    Attributes:
        idempotency_key: as in ``apply_async``: while its row lives, the same key is the same job.
        options: of this job alone, as in ``apply_async``; it takes as long to prepare as a single job.
    """

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    options: Mapping[str, Any] | None = None


def enqueue_many(
    task: Any,
    calls: Iterable[Call | Sequence[Any] | Mapping[str, Any]],
    *,
    session: Session | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> int:
    """Enqueue a job of ``task`` for each of ``calls``; return how many are new.

    Memory does not grow with their number. The headers of a chunk are made once, with one call of
    ``before_task_publish``.

    Args:
        calls: positional arguments as a list or tuple, keyword arguments as a mapping, or a ``Call``.
        session: rows are written in its transaction, and messages leave after its commit. Otherwise
            each chunk is a transaction of its own: after an error, those before it are enqueued.
        progress: called after each chunk with the number of calls so far.
        options: of ``apply_async``, for all of them.

    Raises:
        BadArgument, PayloadTooLarge, TypeError: with a note that says which call it was.
        LedgerUnavailable: with a note that says how many were enqueued before.
    """
    if chunk < 1:
        raise BadArgument("chunk", f"wanted an integer of at least 1, found {chunk!r}")
    app: Celeriac = task._get_app()
    if app.conf.task_always_eager:
        return sum(1 for call in map(_call, calls) if task.apply_async(call.args, call.kwargs, **options))
    made = _Maker(task, options).jobs(calls)
    chunks = iter(lambda: list(islice(made, chunk)), [])
    write = _writer(app, session)
    if write is not None:
        return _told(((write(some), len(some)) for some in chunks), progress)
    with ThreadPoolExecutor(1, "celeriac-bulk") as background:  # the next chunk is made while one is written
        return _told(_behind(background, partial(_write, app), chunks), progress)


def _behind(
    background: Executor, write: Callable[[list[NewJob]], int], chunks: Iterable[list[NewJob]]
) -> Iterator[tuple[int, int]]:
    """How many of each chunk are new, and its size; one chunk behind what is made."""
    pending: tuple[Future[int], int] | None = None
    for some in chunks:
        if pending is not None:
            yield pending[0].result(), pending[1]
        pending = background.submit(write, some), len(some)
    if pending is not None:
        yield pending[0].result(), pending[1]


def _told(written: Iterable[tuple[int, int]], progress: Callable[[int], object] | None) -> int:
    """Sum up, and tell how far it is."""
    new = seen = 0
    try:
        for fresh, size in written:
            new += fresh
            seen += size
            if progress is not None:
                progress(seen)
    except LedgerUnavailable as exc:
        exc.add_note(f"{seen} calls before it were enqueued")
        raise
    return new


@contextmanager
def enqueue_together(*, app: Celeriac | None = None, chunk: int = CHUNK) -> Iterator[None]:
    """What the block enqueues is written and sent when it ends, in chunks; nothing, if it raises."""
    with hand_over.collecting() as found:
        yield
    platform = meant(app)
    write = _writer(platform, None) or partial(_write, platform)
    for start in range(0, len(found), chunk):
        write(found[start : start + chunk])


def _writer(app: Celeriac, session: Session | None) -> hand_over.Writer | None:
    """How a chunk is written in a transaction of the caller's, or collected; None when it is in neither."""
    if session is not None:
        return lambda new: write_all(app, session, new)
    if hand_over.is_collecting():
        return lambda new: sum(map(hand_over.collect, new))
    return hand_over.writer()


def _write(app: Celeriac, chunk: list[NewJob]) -> int:
    """Rows, then messages."""
    if app.broker_state.resting:
        chunk = [job.unsent() for job in chunk]
    try:
        with app.database.transaction() as connection:
            new = enqueue_all(connection, chunk)
    except UNREACHABLE as exc:
        raise LedgerUnavailable(type(exc).__name__) from exc
    fresh = {job.id: job for job in chunk if job.id in new}
    if unsent := [job for job in fresh.values() if job.dispatch_count]:
        sending.send(app, unsent)
    for job in chunk:
        if job.id not in new:
            Door(app).met_again(job)
    return len(fresh)


class _Maker:
    """Makes jobs of calls. The first of a run goes through the door; the others are made in its likeness."""

    def __init__(self, task: Any, options: Mapping[str, Any]) -> None:
        self._task = task
        self._app: Celeriac = task._get_app()
        self._options = dict(options)
        self._names = tuple(inspect.signature(task.run).parameters)
        self._hide = any(map(arguments.is_sensitive, self._names))
        self._model: NewJob | None = None
        self._embed: Any = None  # the part of the body that is the same for all
        self._same: dict[str, Any] = {}  # the model's fields
        self._left = 0  # calls until the headers are made anew
        self._ids = new_uuids()

    def jobs(self, calls: Iterable[Any]) -> Iterator[NewJob]:
        for number, given in enumerate(calls):
            try:
                yield self._job(_call(given))
            except (BadArgument, PayloadTooLarge, TypeError) as exc:
                exc.add_note(f"in call {number}")
                raise

    def _job(self, call: Call) -> NewJob:
        if call.options:
            return self._through_the_door(call)
        if self._model is not None and self._left:
            self._left -= 1
            return self._like(self._model, call)
        self._model = job = self._through_the_door(call)
        if self._can_be_imitated(job):
            self._left = CHUNK - 1
            self._embed = json.loads(job.payload)[2]
            self._same = {field.name: getattr(job, field.name) for field in fields(job)}
        return job

    def _through_the_door(self, call: Call) -> NewJob:
        options = {**self._options, **(call.options or {})}
        if call.idempotency_key is not None:
            options["idempotency_key"] = call.idempotency_key
        with hand_over.collecting() as found:
            self._task.apply_async(tuple(call.args), call.kwargs, **options)
        (job,) = found
        return job

    def _can_be_imitated(self, job: NewJob) -> bool:
        """Whether nothing but arguments and ids is different in the next one."""
        plain = job.content_type == _JSON and "compression" not in job.headers
        return plain and self._task._dump_pydantic_arguments is None

    def _like(self, model: NewJob, call: Call) -> NewJob:
        args, kwargs = tuple(call.args), dict(call.kwargs or {})
        if self._task.typing:
            self._task.__header__(*args, **kwargs)
        hide = arguments.check(args, kwargs) or self._hide
        payload = _encode((args, kwargs, self._embed)).encode()
        limit = self._app.settings.payload_limit
        if len(payload) > limit:
            raise PayloadTooLarge(self._task.name, len(payload), limit)
        id = self._id(call)
        written = str(id)
        headers = {
            **model.headers,
            "id": written,
            "argsrepr": arguments.represent(args, names=self._names, hide=hide),
            "kwargsrepr": arguments.represent(kwargs, hide=hide),
        }
        own: dict[str, Any] = {"id": id, "payload": payload, "headers": headers}
        if model.root_id == model.id:
            headers["root_id"] = written
            own["root_id"] = id
        return NewJob(**{**self._same, **own, "idempotency_key": call.idempotency_key})

    def _id(self, call: Call) -> UUID:
        if call.idempotency_key is None:
            return next(self._ids)
        key = arguments.check_text("idempotency_key", call.idempotency_key, length=NAME_LENGTH)
        return UUID(derived_id(self._task.name, key))


def _call(given: Any) -> Call:
    if isinstance(given, Call):
        return given
    if isinstance(given, Mapping):
        return Call(kwargs=given)
    if isinstance(given, list | tuple):
        return Call(args=given)
    raise BadArgument("calls", f"wanted a list, a tuple, a mapping or a Call, found {type(given).__name__}")
