"""The door in: everything that is ever published becomes a row first and a message second.

It stands where Celery hands a finished message to a producer: there routing, serializer and
headers are final, after every ``before_task_publish`` receiver, and the body is serialized once.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.app.amqp import AMQP as CeleryAMQP
from celery.app.amqp import Queues as CeleryQueues
from kombu.compression import compress
from kombu.exceptions import EncodeError
from kombu.serialization import dumps
from kombu.utils.functional import maybe_list
from kombu.utils.imports import symbol_by_name
from kombu.utils.objects import cached_property

from celeriac import names, texts
from celeriac.broker import compression, sending, signing
from celeriac.enqueue import arguments, message_properties, pending, successors, time_limits
from celeriac.enqueue.depth import check_depth
from celeriac.enqueue.headers import check as check_headers
from celeriac.enqueue.reused_id import Caller, settle
from celeriac.errors import BadArgument, PayloadTooLarge, UnknownTask
from celeriac.events import Event
from celeriac.headers import CHORD, STAMP
from celeriac.ids import optional_id, parse_id
from celeriac.ledger.schema.columns import LATEST, PARKED
from celeriac.ledger.upkeep.parked import fail_parked
from celeriac.ledger.writes.acceptance import Settle, accept, accept_all, accept_known
from celeriac.ledger.writes.bulk_insert import first_of_each
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.replay import ENDLESS
from celeriac.names import NAME_LENGTH
from celeriac.priorities import FOREIGN, Priority, priority_of
from celeriac.priorities import parse as parse_priority

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Header that carries a call's relative times from the call to the door; never leaves the process.
_CALL = "celeriac_call"

#: Seconds before now that are counted at most, which is overdue enough; Celery counts in 32 bits.
LONGEST_PAST = 60 * 366 * 86_400.0


class Queues(CeleryQueues):
    """The queues of an app; who draws from the normal one draws for adoption, too."""

    def select(self, include: Any) -> None:
        chosen = maybe_list(include) or []
        super().select([*chosen, FOREIGN] if Priority.NORMAL.queue in chosen else chosen)


class AMQP(CeleryAMQP):
    """Celery's message factory, with the door at its end."""

    app: Celeriac
    queues_cls = Queues

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
        countdown = _seconds("countdown", countdown)
        relative_expiry = None if isinstance(expires, datetime | str) else _seconds("expires", expires)
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
            message.headers[_CALL] = {"countdown": countdown, "expires": relative_expiry}
        return message

    @cached_property
    def door(self) -> Door:
        return Door(self.app)

    @contextmanager
    def gathering(self, producer: Any) -> Iterator[pending.Gatherer]:
        """A producer for members of a group: their rows are written together when the block ends."""
        gatherer = pending.Gatherer(producer, self.door.write_many)
        try:
            yield gatherer
            gatherer.write()
        except (BadArgument, PayloadTooLarge, UnknownTask, TypeError) as exc:
            if gatherer.awaited_by is not None:
                self.door.give_up(gatherer.awaited_by, exc)
            raise

    def _create_task_sender(self) -> Any:
        send = super()._create_task_sender()
        door = self.door

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            return send(Entrance(door, producer), name, message, **options)

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


class Entrance:
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


class Door:
    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._chains = successors.LastSteps()
        self._accepted = frozenset(app.conf.accept_content)
        self._signs = app.settings.signs
        self._serializer = signing.SERIALIZER if self._signs else "json"

    def enter(self, body: Any, producer: Any, options: dict[str, Any]) -> None:
        """Accept one message: hand it over, or write its row and send it."""
        elsewhere = options.get("session") is not None or pending.is_elsewhere()
        if isinstance(producer, pending.Gatherer) and not elsewhere:
            producer.awaited_by = successors.awaiting(body)
        job = self._job(body, options)
        if job.idempotency_key is None and not any((body[2] or {}).values()):
            self._accept(job, producer, options)
            return
        caller = Caller.of(self._app)
        if not caller.checks or caller.job == job.id:  # looked at by the call that applied it
            self._accept(job, producer, options)
            return
        successors.refuse_key_of_another(job)
        successors.refuse_keys(body[2])
        self._chains.check(job.id, body, parent=caller.job)
        self._accept(job, producer, options)
        self._chains.remember(job.id, body, parent=caller.job)

    def _accept(self, job: NewJob, producer: Any, options: Mapping[str, Any]) -> None:
        attempt = self._app.current_worker_task
        its_own = attempt is not None and attempt.request.id == str(job.id)
        if its_own:  # the row has its user; a retry or a replacement may name another
            job = replace(job, user_id=_text("user_id", options.get("user_id")))
        if its_own and job.headers["retries"] > attempt.request.retries:
            pending.leave_retry(attempt.request, job)
            return
        if pending.collect(job) or its_own:
            return  # a job that sends itself again without a word of retry is accepted already
        write = _writer_of(self._app, options.get("session")) or pending.writer()
        if write is not None:
            write([job])
        elif job.group_id is not None and isinstance(producer, pending.Gatherer):
            producer.gather(job)
        else:
            self.write(job, producer)

    def write(self, job: NewJob, producer: Any = None) -> bool:
        """Row, then message; return whether it is new."""
        app = self._app
        if app.broker_state.resting:
            job = job.unsent()
        within = app.settings.enqueue_timeout
        new = accept(app.database, job, within=within)
        unsent = [job] if job.dispatch_count else []
        if not new:
            unsent = accept_known(app.database, job, within=within, settle=self._settling())
        if unsent:
            sending.send(app, unsent, producer=producer)
        return new

    def write_many(self, new: Sequence[NewJob], producer: Any = None, *, caller: Caller | None = None) -> int:
        """Rows, then messages; return how many are new.

        Args:
            caller: who enqueues, where that is another thread's.

        Raises:
            BadArgument: an id is used again for something else; none of them was written.
            LedgerUnavailable: the database cannot be reached.
            EnqueueUncertain: it fell silent inside the commit.
        """
        app = self._app
        if len(new) == 1:
            return int(self.write(new[0], producer))
        if app.broker_state.resting:
            new = [job.unsent() for job in new]
        ids, again = accept_all(
            app.database, new, within=app.settings.enqueue_timeout, settle=self._settling(caller)
        )
        fresh = first_of_each([job for job in new if job.id in ids])
        if unsent := [*(job for job in fresh if job.dispatch_count), *again]:
            sending.send(app, unsent, producer=producer)
        return len(fresh)

    def give_up(self, body: UUID, error: Exception) -> None:
        """Fail the body of a chord, one of whose members was refused: it would wait for it in vain."""
        told = texts.clean(f"a dependency was refused: {error}", texts.TEXT_LIMIT)
        try:
            with self._app.database.transaction(within=self._app.settings.enqueue_timeout) as connection:
                fail_parked(connection, [body], reason=told)
        except Exception as exc:  # the keeper fails it later
            logger.warning(Event.BODY_NOT_FAILED, {"job": body, "error": type(exc).__name__})

    def _settling(self, caller: Caller | None = None) -> Settle:
        """What decides about jobs whose rows exist."""
        return partial(settle, caller=caller or Caller.of(self._app))

    def _job(self, body: Any, options: dict[str, Any]) -> NewJob:
        headers = dict(options["headers"])
        task = self._app._tasks.get(headers["task"])
        call = headers.pop(_CALL, None) or {}
        chord = options.get("celeriac_chord")
        headers.pop(CHORD, None)
        if chord is not None:
            headers[CHORD] = chord
        message_properties.carry(headers, options, reply_to=self._app.thread_oid)
        headers.pop(STAMP, None)  # a retry brings the stamp of its last attempt along
        check_depth(headers, "headers")
        queue = names.check_text("queue", options["routing_key"], length=NAME_LENGTH)
        payload, content_type, encoding = self._payload(headers, body, options)
        eta, expires = headers.get("eta"), headers.get("expires")
        headers["eta"] = headers["expires"] = None
        timeout = _chosen(options, task, "timeout", self._app.settings.timeout)
        timeout = _time_limits(headers, timeout, self._app.settings)
        check_headers(headers)
        priority = options.get("priority")
        return NewJob(
            id=parse_id(headers["id"]),
            job_type=names.check_text("task name", headers["task"], length=NAME_LENGTH),
            queue=queue,
            priority=priority_of(queue) if priority is None else parse_priority(priority),
            payload=payload,
            content_type=content_type,
            content_encoding=encoding,
            headers=headers,
            max_tries=self._tries(options, task),
            timeout=timeout,
            user_id=_text("user_id", _chosen(options, task, "user_id", None)),
            idempotency_key=_text("idempotency_key", options.get("idempotency_key")),
            schedule=_text("schedule", options.get("schedule")),
            root_id=optional_id(headers.get("root_id")),
            parent_id=optional_id(headers.get("parent_id")),
            group_id=optional_id(headers.get("group")),
            delay=call.get("countdown") or 0.0,
            not_before=_not_before(call, eta, chord, self._app),
            expires_in=call.get("expires"),
            expires=None if call.get("expires") is not None else _moment("expires", expires, self._app),
        )

    def _payload(
        self, headers: dict[str, Any], body: Any, options: Mapping[str, Any]
    ) -> tuple[bytes, str, str]:
        serializer = options.get("serializer") or self._serializer
        if serializer not in self._accepted:
            accepted = ", ".join(sorted(self._accepted))
            raise BadArgument("serializer", f"wanted one of {accepted}, found {serializer!r}")
        if self._signs:
            body = signing.bind_to_job(body, headers)
        try:
            content_type, encoding, text = dumps(body, serializer=serializer)
        except EncodeError as exc:
            raise BadArgument("arguments", f"cannot be written as {serializer}: {exc}") from exc
        payload = text.encode("utf-8") if isinstance(text, str) else text
        if options.get("compression"):
            most = self._app.settings.payload_limit * compression.TIMES
            if len(payload) > most:  # no worker would unpack it
                raise PayloadTooLarge(headers["task"], len(payload), most)
            payload, headers["compression"] = _compressed(payload, options["compression"])
        limit = self._app.settings.payload_limit
        if len(payload) > limit:
            raise PayloadTooLarge(headers["task"], len(payload), limit)
        return payload, content_type, encoding

    def _tries(self, options: Mapping[str, Any], task: Any) -> int:
        tries = options.get("max_tries")
        if tries is None:
            return int(task.default_tries) if task is not None else int(self._app.settings.max_tries)
        if isinstance(tries, bool) or not isinstance(tries, int) or not 1 <= tries <= ENDLESS:
            raise BadArgument("max_tries", f"wanted an integer of at least 1, found {tries!r}")
        return tries


def _writer_of(app: Celeriac, session: Any) -> pending.Writer | None:
    """How rows are written when the call names a session of its own."""
    if session is None:
        return None
    from celeriac.enqueue.transactions import SessionWriter  # which knows the door's parts, not the door

    return SessionWriter(app, session).write


def _compressed(payload: bytes, method: str) -> tuple[bytes, str]:
    try:
        content_type = compression.content_type(method)
    except KeyError:
        raise BadArgument("compression", f"wanted gzip, bzip2 or lzma, found {method!r}") from None
    return compress(payload, content_type)[0], content_type


def _chosen(options: Mapping[str, Any], task: Any, name: str, default: Any) -> Any:
    given = options.get(name)
    if given is None:
        given = getattr(task, name, None)
    return default if given is None else given


def _text(name: str, value: Any) -> str | None:
    return None if value is None else names.check_text(name, value, length=NAME_LENGTH)


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadArgument(name, f"wanted a number of seconds, found {value!r}")
    latest = (LATEST - datetime.now(UTC)).total_seconds()
    if value > latest:
        raise BadArgument(name, f"{value:g} seconds from now lie behind the year {LATEST.year - 1}")
    return max(float(value), -LONGEST_PAST)  # long ago is long ago


def _not_before(call: Mapping[str, Any], eta: Any, chord: Any, app: Celeriac) -> datetime | None:
    if chord is not None:
        return PARKED
    return None if call.get("countdown") else _moment("eta", eta, app)


def _moment(name: str, value: Any, app: Celeriac) -> datetime | None:
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise BadArgument(name, f"wanted a datetime, found {value!r}") from None
    if moment.tzinfo is None:  # as in Celery: a naive time is read in the app's time zone
        moment = moment.replace(tzinfo=app.timezone)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise BadArgument(name, f"{moment} is no moment in UTC") from None
    if moment >= LATEST:
        raise BadArgument(name, f"{moment:%Y-%m-%d} lies behind the year {LATEST.year - 1}")
    return moment


def _time_limits(headers: dict[str, Any], timeout: Any, settings: Any) -> float | None:
    """Settle the message's time limits; return the soft one in seconds."""
    hard, soft = time_limits.pair(headers.get("timelimit"))
    if timeout is not None and soft is None and hard == settings.hard_limit:
        hard = None  # which is the default of jobs that say nothing
    timeout = time_limits.checked("timeout", timeout)
    soft, hard = time_limits.checked("soft_time_limit", soft), time_limits.checked("time_limit", hard)
    if timeout is not None and hard is None and soft is None:
        hard, soft = timeout + settings.timeout_grace, timeout
        headers["timelimit"] = [hard, soft]
    chosen = soft if soft is not None else hard
    return None if chosen is None else float(chosen)
