"""The door in: everything that is ever published becomes a row first and a message second.

It stands where Celery hands a finished message to a producer: there routing, serializer and
headers are final, after every ``before_task_publish`` receiver, and the body is serialized once.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.app.amqp import AMQP as CeleryAMQP
from celery.app.routes import prepare
from kombu import Queue
from kombu.utils.imports import symbol_by_name
from kombu.utils.objects import cached_property

from celeriac.broker.kept_producers import KeptProducers
from celeriac.broker.queues import Queues as LaneQueues
from celeriac.broker.queues import named_in_routes
from celeriac.enqueue import arguments, capture, successors
from celeriac.enqueue.from_message import RELATIVE_TIMES, MessageReader, checked_text, seconds
from celeriac.enqueue.prepare import PreparingProducer
from celeriac.enqueue.reused_id import Caller
from celeriac.enqueue.unique.duplicates import Duplicates
from celeriac.enqueue.write import fail_body, write_or_keep
from celeriac.errors import BadArgument, DuplicateJob, PayloadTooLarge, UnknownTask
from celeriac.headers import RETRIED
from celeriac.ids import row_id
from celeriac.ledger.schema.lanes import place_of
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.limits.answer import ANSWER

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Jobs of one transaction.
CHUNK = 1_000


class AMQP(CeleryAMQP):
    """Celery's message factory, with the door at its end."""

    app: Celeriac
    queues_cls = LaneQueues
    _defaults: tuple[Any, Any] | None = None  # where a message without a queue goes; with a priority

    def Queues(self, queues: Any, *args: Any, **options: Any) -> LaneQueues:  # noqa: N802  # Celery's name
        """The queues of ``task_queues``, and with them whatever lane the app names anywhere else."""
        default = self.app.conf.task_default_queue
        # Never none: Celery would declare the default queue by its name, which may be that of a level.
        given = queues or [Queue(place_of(default).lane)]
        found: LaneQueues = super().Queues(given, *args, **options)
        found.declare(default)
        found.named = self._named
        return found

    def _named(self) -> Iterator[object]:
        yield from named_in_routes(self.app.conf.task_routes)
        for task in list(self.app.tasks.values()):
            yield getattr(task, "queue", None)
        for entry in (self.app.conf.beat_schedule or {}).values():
            if isinstance(entry, Mapping):
                yield (entry.get("options") or {}).get("queue")

    def flush_routes(self) -> None:
        """As Celery's. Ours is the last router, so that those of the team are asked."""
        self._defaults = None
        self._rtable = [*prepare(self.app.conf.task_routes), self._last_route]

    def _last_route(
        self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any = None, **_: Any
    ) -> dict[str, Any] | None:
        """A message without a queue goes to the default one; its level holds where no priority is given."""
        if options.get("queue") or options.get("exchange"):
            return None
        if self._defaults is None:
            default = self.app.conf.task_default_queue
            self._defaults = self.queues[default], self.queues[place_of(default).lane]
        return {"queue": self._defaults[options.get("priority") is not None]}

    @cached_property
    def Connection(self) -> Any:  # noqa: N802  # Celery's name for it
        found = symbol_by_name("celeriac.broker.transport:Connection")
        return type(found.__name__, (found,), {"app": self.app})  # whose queue it is that a channel purges

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        *rest: Any,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        **options: Any,
    ) -> Any:
        args, kwargs = args or (), kwargs or {}
        sensitive = arguments.check(args, kwargs)
        countdown = seconds("countdown", countdown)
        relative_expiry = None if isinstance(expires, datetime | str) else seconds("expires", expires)
        names = self.parameters(name)
        hide = sensitive or any(map(arguments.is_sensitive, names))
        message = super().as_task_v2(
            task_id,
            name,
            args,
            kwargs,
            countdown,
            eta,
            group_id,
            group_index,
            expires,
            *rest,
            argsrepr=argsrepr or arguments.represent(args, names=names, hide=hide),
            kwargsrepr=kwargsrepr or arguments.represent(kwargs, hide=hide),
            **options,
        )
        if countdown is not None or relative_expiry is not None:
            # Counted on the database's clock, not on this machine's.
            message.headers[RELATIVE_TIMES] = {"countdown": countdown, "expires": relative_expiry}
        return message

    @cached_property
    def door(self) -> Door:
        self.app.check_configuration()  # what was written to ``conf`` since it was read
        return Door(self.app)

    @cached_property
    def duplicates(self) -> Duplicates:
        return Duplicates()

    @cached_property
    def kept_producers(self) -> KeptProducers:
        return KeptProducers(self.app)

    @contextmanager
    def group_producer(self, producer: Any) -> Iterator[GroupProducer]:
        """A producer for members of a group: their rows are written together when the block ends."""
        group = GroupProducer(self.app, producer)
        try:
            yield group
            group.write()
        except (BadArgument, DuplicateJob, PayloadTooLarge, UnknownTask, TypeError) as exc:
            if group.awaited_by is not None:
                fail_body(self.app, group.awaited_by, exc)
            raise

    def _create_task_sender(self) -> Any:
        send = super()._create_task_sender()
        door = self.door

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            return send(ProducerDoor(door, producer), name, message, **options)

        tracing = self.app.tracing
        return send_task_message if tracing is None else tracing.around(send_task_message)

    def parameters(self, name: str) -> tuple[str, ...]:
        """The names of a task's parameters; none where they are not known."""
        known: dict[str, tuple[str, ...]] = self.__dict__.setdefault("_known_parameters", {})
        if name not in known:
            task = self.app._tasks.get(name)
            try:
                known[name] = tuple(inspect.signature(task.run).parameters) if task else ()
            except (TypeError, ValueError):
                known[name] = ()
        return known[name]


class ProducerDoor:
    """What Celery's sender takes for a producer: its ``publish`` is the door."""

    def __init__(self, door: Door, producer: Any) -> None:
        self._door = door
        self._producer = producer

    def publish(self, body: Any, **options: Any) -> Any:
        headers = options.get("headers") or {}
        if "task" in headers and "id" in headers:
            return self._door.enter(body, self._producer, options)
        return self._producer.publish(body, **options)  # an event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


class GroupProducer:
    """The producer of a group, which Celery passes from member to member: they are written together.

    Args:
        producer: what publishes all the rest.

    Attributes:
        awaited_by: the body of their chord, whose row is there before theirs.
    """

    awaited_by: UUID | None = None

    def __init__(self, app: Celeriac, producer: Any) -> None:
        self._app = app
        self._producer = producer
        self._members: list[NewJob] = []

    def add(self, job: NewJob) -> None:
        self._members.append(job)
        if len(self._members) >= CHUNK:
            self.write()

    def write(self) -> None:
        """Write those that were not written yet."""
        members, self._members = self._members, []
        if members:
            write_or_keep(self._app, members, producer=self._producer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


class Door:
    """What becomes of each job that is published."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._read = MessageReader(app)
        self._chains = successors.LastSteps()

    def enter(self, body: Any, producer: Any, options: Mapping[str, Any]) -> None:
        """Take in one message: its job is written and sent, or handed to who asked for it."""
        elsewhere = options.get("session") is not None or capture.captured_jobs() is not None
        if isinstance(producer, GroupProducer) and not (elsewhere or capture.writer(self._app)):
            producer.awaited_by = successors.awaiting(body)
        job = self._read.job(body, options)
        if job.idempotency_key is None and not any((body[2] or {}).values()):
            self._hand_on(job, producer, options)
            return
        caller = Caller.of(self._app)
        if not caller.checks or caller.job == job.id:  # looked at by the call that applied it
            self._hand_on(job, producer, options)
            return
        successors.refuse_key_of_another(job)
        successors.refuse_keys_and_bad_ids(body[2])
        self._chains.check(job.id, body, parent=caller.job, before=caller.chain)
        self._hand_on(job, producer, options)
        self._chains.remember(job.id, body, parent=caller.job)

    def _hand_on(self, job: NewJob, producer: Any, options: Mapping[str, Any]) -> None:
        attempt = self._app.current_worker_task
        is_own = attempt is not None and row_id(attempt.request.id) == job.id
        if is_own:  # the row has its user; a retry or a replacement may name another
            job = replace(job, user_id=checked_text("user_id", options.get("user_id")))
        captured = capture.captured_jobs()
        if isinstance(producer, PreparingProducer):
            producer.job = job
        elif is_own and job.headers["retries"] > attempt.request.retries:
            capture.keep_retry(attempt.request, _as_retried(job, attempt.request))
        elif captured is not None:
            captured.append(job.promised())  # the call returns before its row is written
        elif not is_own:  # a job that sends itself again without a word of retry is accepted already
            kept = self._write(job, producer, options.get("session")).kept
            if kept and ANSWER in options:
                options[ANSWER].task_id = kept[job.id].task_id

    def _write(self, job: NewJob, producer: Any, session: Any) -> capture.Written:
        in_transaction = _writer_of(self._app, session) or capture.writer(self._app)
        if in_transaction is not None:
            return in_transaction([job])
        if job.group_id is not None and isinstance(producer, GroupProducer):
            producer.add(job)
            return capture.Written(1)
        return write_or_keep(self._app, [job], producer=producer)


def _as_retried(job: NewJob, request: Any) -> NewJob:
    """``job`` with the count of its tries elsewhere, which its own message has from the one before it."""
    before = request.get(RETRIED)
    return replace(job, headers={**job.headers, RETRIED: before}) if before else job


def _writer_of(app: Celeriac, session: Any) -> capture.Writer | None:
    """What writes the rows of a call that names a session of its own."""
    if session is None:
        return None
    from celeriac.enqueue.transactions import session_writer  # SQLAlchemy's ORM is slow to import

    return session_writer(app, session)
