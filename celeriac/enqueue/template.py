"""Build many jobs of one task from the first one of each chunk, which is prepared in full."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from kombu.utils.json import JSONEncoder

from celeriac import names
from celeriac.enqueue import arguments
from celeriac.enqueue.prepare import prepare
from celeriac.errors import BadArgument, PayloadTooLarge
from celeriac.headers import PROPERTIES, UNIQUE, new_tag
from celeriac.ids import derived_id, new_id, new_ids
from celeriac.ledger.writes.copy_in import SimilarJobs, is_root, own_headers
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.limits.unique_key import KeyMaker, UniqueCall
from celeriac.names import NAME_LENGTH

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Of a job: its id, its payload, its own headers (``celeriac.ledger.writes.copy_in``).
Row: TypeAlias = tuple[str, bytes, str]

#: A call as it was given, behind its number.
Numbered: TypeAlias = tuple[int, Any]

#: What a call is refused with.
REFUSALS = (BadArgument, PayloadTooLarge, TypeError)

_JSON = "application/json"
_encode = JSONEncoder(check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Call:
    """One of many jobs.

    Attributes:
        idempotency_key: as in ``apply_async``: while its row lives, the same key is the same job.
        options: of this job alone, as in ``apply_async``; it takes as long to prepare as a single job.

    >>> enqueue_many(welcome, [Call((7,), idempotency_key="once"), Call((7,), idempotency_key="once")])
    1
    """

    args: Sequence[Any] = ()  # positional
    kwargs: Mapping[str, Any] | None = None  # by name
    idempotency_key: str | None = None
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Jobs that are written together: similar ones, or each by itself.

    Attributes:
        similar: all of them, where nothing but ids and arguments differs.
        single: all of them, where there is more; empty otherwise.
    """

    similar: SimilarJobs | None
    single: Sequence[NewJob] = ()

    @property
    def size(self) -> int:
        return len(self.single) if self.similar is None else len(self.similar.rows)

    def jobs(self) -> Sequence[NewJob]:
        return self.single if self.similar is None else self.similar.jobs()


class ChunkMaker:
    """Makes jobs of ``task``, in chunks.

    Args:
        options: of ``apply_async``, for all of them.
    """

    def __init__(self, task: Any, options: Mapping[str, Any]) -> None:
        # Not the proxy that a decorator leaves: it looks the task up at every touch.
        self.task = task._get_current_object() if hasattr(task, "_get_current_object") else task
        self.app: Celeriac = task._get_app()
        self.options = dict(options)
        self.limit: int = self.app.settings.payload_limit
        self.names = tuple(inspect.signature(task.run).parameters)
        self.hide = any(map(arguments.is_sensitive, self.names))
        self.ids = new_ids()

    def chunks(self, calls: Iterable[Any], size: int) -> Iterator[Chunk]:
        """The jobs of ``calls``, in chunks of ``size``; nothing is made ahead.

        Raises:
            BadArgument, PayloadTooLarge, TypeError: with a note that says which call it was.
        """
        numbered = enumerate(calls)
        while chunk := self._chunk(islice(numbered, size)):
            yield chunk

    def template_of(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> JobTemplate | None:
        """What makes jobs that differ from the one of this call in ids and arguments; None: they may differ
        in more.

        Raises:
            BadArgument, PayloadTooLarge, TypeError: the call is refused.
        """
        call = Call(args, kwargs)
        return self._template(call, self._prepare(call))

    def _chunk(self, calls: Iterator[Numbered]) -> Chunk | None:
        """The next chunk; None behind the last.

        Its first job is prepared as a single one and is the template of those that follow. They stay rows as
        long as each is a plain call; from the first that is not, all of the chunk are jobs of their own.
        """
        first = next(calls, None)
        if first is None:
            return None
        number, given = first
        try:
            call = call_of(given)
            job = self._prepare(call)
        except REFUSALS as exc:
            exc.add_note(f"in call {number}")
            raise
        template = self._template(call, job)
        if template is None or call.idempotency_key is not None or job.unique is not None:
            return Chunk(None, [job, *self._single_jobs(calls, template)])
        rows = [template.original()]
        other = template.add_rows(rows, calls)
        similar = SimilarJobs(template.model, rows)
        if other is None:
            return Chunk(similar)
        return Chunk(None, [*similar.jobs(), *self._single_jobs(chain([other], calls), template)])

    def _single_jobs(self, calls: Iterable[Numbered], template: JobTemplate | None) -> Iterator[NewJob]:
        """A job for each call: made of the template, or prepared where there is none or it has options."""
        for number, given in calls:
            try:
                call = call_of(given)
                if template is not None and not call.options:
                    job = template.job(call)
                else:
                    job = self._prepare(call)
                    template = template or self._template(call, job)
            except REFUSALS as exc:
                exc.add_note(f"in call {number}")
                raise
            yield job

    def _prepare(self, call: Call) -> NewJob:
        options = {**self.options, **(call.options or {})}
        if call.idempotency_key is not None:
            options["idempotency_key"] = call.idempotency_key
        return prepare(self.app, self.task, tuple(call.args), call.kwargs, options)

    def _template(self, call: Call, job: NewJob) -> JobTemplate | None:
        """``job`` as a template, if nothing but ids and arguments is different in the next one."""
        if (
            call.options
            or job.content_type != _JSON
            or "compression" in job.headers
            or PROPERTIES in job.headers
            or getattr(self.task, "_dump_pydantic_arguments", None) is not None  # of Celery 5.6
            or not self.task.makes_plain_jobs()
            or (job.permits and not job.fair)  # which may follow from the arguments
            or (job.fair and not job.fair.of_user)
            or self.options.keys() & {"argsrepr", "kwargsrepr"}
        ):
            return None
        template = JobTemplate(self, job)
        same = job.payload, job.headers["argsrepr"], job.headers["kwargsrepr"]
        return template if template.arguments(call.args, call.kwargs) == same else None


class JobTemplate:
    """Makes jobs that differ from ``model`` in nothing but their ids and arguments."""

    def __init__(self, maker: ChunkMaker, model: NewJob) -> None:
        self.model = model
        self._maker = maker
        self._fits = maker.task.__header__ if maker.task.typing else None
        self._root = is_root(model)
        self._common = f"{_encode(SimilarJobs(model, ()).headers())[:-1]}, "
        rest = json.loads(model.payload)[2]  # of the body, the same for all
        self._rest = f", {_encode(rest)}]"
        self._same = {field.name: getattr(model, field.name) for field in fields(model)}
        self._followed = any(rest.values())
        unique = model.unique
        self._keys = unique and KeyMaker(model.job_type, maker.task._called, unique.rule)

    def original(self) -> Row:
        """The model's own row."""
        told, id = self.model.headers, str(self.model.id)
        own = own_headers(id, told["argsrepr"], told["kwargsrepr"], root=self._root)
        return id, self.model.payload, own

    def add_rows(self, rows: list[Row], calls: Iterator[Numbered]) -> Numbered | None:
        """Add a row for each call, up to the first that has options or a key; return that one."""
        for number, given in calls:
            try:
                if type(given) in (tuple, list):
                    rows.append(self.row(given, None))
                    continue
                call = call_of(given)
                if call.options or call.idempotency_key is not None:
                    return number, given
                rows.append(self.row(call.args, call.kwargs))
            except REFUSALS as exc:
                exc.add_note(f"in call {number}")
                raise
        return None

    def row(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Row:
        payload, argsrepr, kwargsrepr = self.arguments(args, kwargs)
        id = next(self._maker.ids)
        return id, payload, own_headers(id, argsrepr, kwargsrepr, root=self._root)

    def job(self, call: Call) -> NewJob:
        """The same, as a job that may have a key."""
        id, key = next(self._maker.ids), call.idempotency_key
        if key is not None:
            key = names.check_text("idempotency_key", key, length=NAME_LENGTH)
            id = derived_id(self._maker.task.name, key)
        return self._job(call.args, call.kwargs, id=id, key=key)

    def single(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> NewJob:
        """The job of one call; for any thread and any process."""
        return self._job(args, kwargs, id=new_id(), key=None)

    def _job(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None, *, id: str, key: str | None
    ) -> NewJob:
        payload, argsrepr, kwargsrepr = self.arguments(args, kwargs)
        headers = {**self.model.headers, "id": id, "argsrepr": argsrepr, "kwargsrepr": kwargsrepr}
        # A key may come twice in a chunk, with other arguments.
        own: dict[str, Any] = {
            "id": UUID(id),
            "payload": payload,
            "headers": headers,
            "message_tag": new_tag(),
        }
        if self._root:
            headers["root_id"] = id
            own["root_id"] = own["id"]
        if self._keys:
            own["unique"] = self._unique_call(self._keys, args, kwargs, key)
            headers[UNIQUE] = own["unique"].written()
        else:
            text = own_headers(id, argsrepr, kwargsrepr, root=self._root)
            own["headers_encoded"] = headers, f"{self._common}{text}}}"
        return NewJob(**{**self._same, **own, "idempotency_key": key})

    def _unique_call(
        self, keys: KeyMaker, args: Sequence[Any], kwargs: Mapping[str, Any] | None, own: str | None
    ) -> UniqueCall:
        assert self.model.unique is not None
        key = keys.key(tuple(args), dict(kwargs or {}))
        return replace(self.model.unique, key=key, promised=self._followed or own is not None)

    def arguments(self, given: Sequence[Any], named: Mapping[str, Any] | None) -> tuple[bytes, str, str]:
        """Its payload, and its arguments as people may see them."""
        maker = self._maker
        args, kwargs = tuple(given), dict(named) if named else {}
        if self._fits is not None:
            self._fits(*args, **kwargs)
        hide = arguments.check(args, kwargs) or maker.hide
        payload = f"{_encode((args, kwargs))[:-1]}{self._rest}".encode()
        if len(payload) > maker.limit:
            raise PayloadTooLarge(maker.task.name, len(payload), maker.limit)
        argsrepr = arguments.represent(args, names=maker.names, hide=hide)
        return payload, argsrepr, arguments.represent(kwargs, hide=hide) if kwargs else "{}"


def call_of(given: Any) -> Call:
    """One of many jobs, however it was given.

    Raises:
        BadArgument: not as ``enqueue_many`` takes it.
    """
    if isinstance(given, Call):
        return given
    if isinstance(given, Mapping):
        return Call(kwargs=given)
    if isinstance(given, list | tuple):
        return Call(args=given)
    raise BadArgument("calls", f"wanted a list, a tuple, a mapping or a Call, found {type(given).__name__}")
