"""Make a ``NewJob`` of a message that Celery has finished. Here it is validated; nothing is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from kombu.compression import compress
from kombu.exceptions import EncodeError
from kombu.serialization import dumps

from celeriac import names
from celeriac.broker import compression, signing
from celeriac.enqueue import time_limits
from celeriac.enqueue.arguments import check_depth
from celeriac.enqueue.headers import carry_properties
from celeriac.enqueue.headers import check as check_headers
from celeriac.enqueue.unique.calls import UniqueReader, after_its_wait
from celeriac.errors import BadArgument, PayloadTooLarge
from celeriac.headers import CHORD, PERMITS, STAMP
from celeriac.ids import parse_row_id, row_id
from celeriac.ledger.schema.columns import LATEST, PARKED
from celeriac.ledger.schema.lanes import check as check_queue
from celeriac.ledger.schema.lanes import place_of
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.replay import ENDLESS
from celeriac.limits import permits
from celeriac.limits.fairness import USER, FairTurn, permit_name
from celeriac.names import NAME_LENGTH
from celeriac.priorities import parse as parse_priority
from celeriac.priorities import priority_of

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Header that carries a call's relative times from the call to the row; never leaves the process.
RELATIVE_TIMES = "celeriac_call"

_QUEUES_KNOWN = 1000  # a project may make queues without end

#: Seconds before now that are counted at most, which is overdue enough; Celery counts in 32 bits.
LONGEST_PAST = 60 * 366 * 86_400.0


class MessageReader:
    """Reads the messages that one app is about to publish."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._known: set[str] = set()  # names of queues that were checked
        self._accepted = frozenset(app.conf.accept_content)
        self._unique = UniqueReader(app)
        self._signs = app.settings.signs
        self._fairness = app.settings.fairness
        self._serializer = signing.SERIALIZER if self._signs else "json"

    def job(self, body: Any, options: Mapping[str, Any]) -> NewJob:
        """The job of a message.

        Args:
            body: arguments, and what follows the job, as Celery's protocol 2 has them.
            options: those of the producer's ``publish``, with the headers and the properties.

        Raises:
            BadArgument, PayloadTooLarge: it is refused.
        """
        headers = dict(options["headers"])
        task = self._app._tasks.get(headers["task"])
        if task is not None and task.refused:
            raise BadArgument(task.name, task.refused)
        call = headers.pop(RELATIVE_TIMES, None) or {}
        chord = options.get("celeriac_chord")
        headers.pop(CHORD, None)
        if chord is not None:
            headers[CHORD] = chord
        carry_properties(headers, options, reply_to=self._app.thread_oid)
        headers.pop(STAMP, None)  # a retry brings the stamp of its last attempt along
        takes = self._permits(task, body, options, headers)
        check_depth(headers, "headers")
        priority = None if options.get("priority") is None else parse_priority(options["priority"])
        queue = self._list(options, priority)
        user = checked_text("user_id", _chosen(options, task, "user_id", None))
        fair = None if takes else self._turn(task, body, queue, user)
        takes = self._window(queue, headers) if fair else takes
        payload, content_type, encoding = self._payload(headers, body, options)
        eta, expires = headers.get("eta"), headers.get("expires")
        headers["eta"] = headers["expires"] = None
        timeout = _chosen(options, task, "timeout", self._app.settings.timeout)
        timeout = _time_limits(headers, timeout, self._app.settings)
        check_headers(headers)
        job = NewJob(
            id=parse_row_id(headers["id"]),
            job_type=names.check_text("task name", headers["task"], length=NAME_LENGTH),
            queue=queue,
            priority=priority_of(queue) if priority is None else priority,
            payload=payload,
            content_type=content_type,
            content_encoding=encoding,
            headers=headers,
            max_tries=self._tries(options, task),
            timeout=timeout,
            user_id=user,
            idempotency_key=checked_text("idempotency_key", options.get("idempotency_key")),
            schedule=checked_text("schedule", options.get("schedule")),
            root_id=row_id(headers.get("root_id")),
            parent_id=row_id(headers.get("parent_id")),
            group_id=row_id(headers.get("group")),
            delay=call.get("countdown") or 0.0,
            not_before=_not_before(call, eta, chord, self._app),
            expires_in=call.get("expires"),
            expires=None if call.get("expires") is not None else _moment("expires", expires, self._app),
            permits=takes,
            fair=fair,
            unique=self._unique.call(task, body, options, headers),
        )
        return after_its_wait(job)

    def _permits(
        self, task: Any, body: Any, options: Mapping[str, Any], headers: dict[str, Any]
    ) -> tuple[permits.Permit, ...]:
        """What the job takes of limits; its message says it, too, for whoever ends it."""
        before, given = headers.pop(PERMITS, None), options.get("limit_key")  # a retry brings them along
        found = permits.permits_of(task, body[0] or (), body[1] or {}, given=given, before=before)
        if found:
            headers[PERMITS] = permits.written(found)
        return found

    def _turn(self, task: Any, body: Any, queue: str, user: str | None) -> FairTurn | None:
        """Whose turn it is in a fair queue; None: it goes by arrival."""
        key = self._fairness.key_of(queue, place_of(queue).lane) if self._fairness.is_on else None
        if key is None:
            return None
        if key == USER:
            return self._fairness.turn(user)
        found = permits.MISSING if task is None else permits.argument(task, key, body[0] or (), body[1] or {})
        whose = None if found is permits.MISSING else checked_text("fair_by", str(found))
        return self._fairness.turn(whose, of_user=False)

    def _window(self, queue: str, headers: dict[str, Any]) -> tuple[permits.Permit, ...]:
        """What a job of a fair queue takes of it."""
        takes = (permits.Permit(permit_name(queue), 1),)
        headers[PERMITS] = permits.written(takes)
        return takes

    def _list(self, options: Mapping[str, Any], priority: int | None) -> str:
        """The list of its lane and level."""
        queues, name = self._app.amqp.queues, options["routing_key"]
        if options.get("exchange"):
            name = queues.bound(options["exchange"], name)
        if name not in self._known:
            check_queue(name)
            if len(self._known) < _QUEUES_KNOWN:
                self._known.add(name)
        found: str = queues.lanes.list_for(name, priority)
        return found

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


def checked_text(name: str, value: Any) -> str | None:
    return None if value is None else names.check_text(name, value, length=NAME_LENGTH)


def seconds(name: str, value: Any) -> float | None:
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
