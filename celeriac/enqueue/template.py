"""Calls of one task, made into jobs: the first of a chunk through the door, the others in its likeness."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, TypeAlias
from uuid import UUID

from kombu.utils.json import JSONEncoder

from celeriac import names
from celeriac.enqueue import arguments, pending
from celeriac.errors import BadArgument, PayloadTooLarge
from celeriac.headers import PROPERTIES, new_tag
from celeriac.ids import derived_id, new_ids
from celeriac.ledger.writes.copy_in import SimilarJobs, is_root, own_headers
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.names import NAME_LENGTH

#: Of a job: its id, its payload, its own headers (``celeriac.ledger.writes.copy_in``).
Row: TypeAlias = tuple[str, bytes, str]

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


@dataclass(slots=True)
class Chunk:
    """Jobs that are written together: in the likeness of one, or each by itself."""

    similar: SimilarJobs | None
    others: list[NewJob]

    @property
    def size(self) -> int:
        return len(self.others) if self.similar is None else len(self.similar.rows)

    def jobs(self) -> list[NewJob]:
        return self.others if self.similar is None else self.similar.jobs()


class Maker:
    """Makes jobs of ``task``.

    Args:
        options: of ``apply_async``, for all of them.
    """

    def __init__(self, task: Any, options: Mapping[str, Any]) -> None:
        # Not the proxy that a decorator leaves: it looks the task up at every touch.
        self.task = task._get_current_object() if hasattr(task, "_get_current_object") else task
        self.options = dict(options)
        self.limit: int = task._get_app().settings.payload_limit
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

    def _chunk(self, calls: Iterator[tuple[int, Any]]) -> Chunk | None:
        """The next chunk; None behind the last."""
        template: _Template | None = None
        rows: list[Row] = []
        others: list[NewJob] | None = None  # all of them, once there is one that is not like the others
        for number, given in calls:
            try:
                if template is not None and others is None and type(given) in (tuple, list):
                    rows.append(template.row(given, None))
                    continue
                call = call_of(given)
                if template is None or call.options:
                    job = self._through_the_door(call)
                    if template is None and not call.options and self._can_be_imitated(call, job):
                        template = _Template(self, job)
                        if others is None and call.idempotency_key is None:
                            rows.append(template.original())
                            continue
                elif others is None and call.idempotency_key is None:
                    rows.append(template.row(call.args, call.kwargs))
                    continue
                else:
                    job = template.job(call)
            except (BadArgument, PayloadTooLarge, TypeError) as exc:
                exc.add_note(f"in call {number}")
                raise
            if others is None:
                others = SimilarJobs(template.model, rows).jobs() if template and rows else []
            others.append(job)
        if others is None and template is not None:
            return Chunk(SimilarJobs(template.model, rows), [])
        return Chunk(None, others) if others else None

    def _through_the_door(self, call: Call) -> NewJob:
        options = {**self.options, **(call.options or {})}
        if call.idempotency_key is not None:
            options["idempotency_key"] = call.idempotency_key
        with pending.collecting() as found:
            self.task.apply_async(tuple(call.args), call.kwargs, **options)
        (job,) = found
        return job

    def _can_be_imitated(self, call: Call, job: NewJob) -> bool:
        """Whether nothing but arguments and ids is different in the next one."""
        if (
            job.content_type != _JSON
            or "compression" in job.headers
            or PROPERTIES in job.headers
            or self.task._dump_pydantic_arguments is not None
            or not self.task.makes_plain_jobs()
            or self.options.keys() & {"argsrepr", "kwargsrepr"}
        ):
            return False
        told = job.headers["argsrepr"], job.headers["kwargsrepr"]
        return _Template(self, job).arguments(call.args, call.kwargs) == (job.payload, *told)


class _Template:
    """Makes jobs that differ from ``model`` in nothing but their ids and arguments."""

    def __init__(self, maker: Maker, model: NewJob) -> None:
        self.model = model
        self._maker = maker
        self._fits = maker.task.__header__ if maker.task.typing else None
        self._root = is_root(model)
        self._rest = f", {_encode(json.loads(model.payload)[2])}]"  # of the body, the same for all
        self._same = {field.name: getattr(model, field.name) for field in fields(model)}

    def original(self) -> Row:
        """The model's own row."""
        told, id = self.model.headers, str(self.model.id)
        own = own_headers(id, told["argsrepr"], told["kwargsrepr"], root=self._root)
        return id, self.model.payload, own

    def row(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Row:
        payload, argsrepr, kwargsrepr = self.arguments(args, kwargs)
        id = next(self._maker.ids)
        return id, payload, own_headers(id, argsrepr, kwargsrepr, root=self._root)

    def job(self, call: Call) -> NewJob:
        """The same, as a job that may have a key."""
        payload, argsrepr, kwargsrepr = self.arguments(call.args, call.kwargs)
        id, key = next(self._maker.ids), call.idempotency_key
        if key is not None:
            key = names.check_text("idempotency_key", key, length=NAME_LENGTH)
            id = derived_id(self._maker.task.name, key)
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
        return NewJob(**{**self._same, **own, "idempotency_key": key})

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
