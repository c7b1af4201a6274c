"""Read a delivery: a message of ours, a foreign one to adopt, or an unreadable one. It writes nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from celery import states

from celeriac.broker import signing
from celeriac.enqueue import time_limits
from celeriac.enqueue.arguments import check_depth
from celeriac.enqueue.headers import foreign_properties
from celeriac.errors import BadArgument, NotSigned
from celeriac.headers import (
    ADOPTED,
    CALLED,
    DUE,
    FOLLOWS,
    PERMITS,
    RETRIED,
    STAMP,
    UNIQUE,
    carried,
    retried,
    task_id,
)
from celeriac.ids import new_id, row_id
from celeriac.ledger.schema.columns import LATEST
from celeriac.ledger.schema.lanes import adopted_priority
from celeriac.ledger.writes.claims import Claimed, Message
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.quarantine import Unreadable
from celeriac.ledger.writes.replay import ENDLESS
from celeriac.limits.permits import permits_of, written
from celeriac.limits.unique_key import KeyMaker, UniqueCall
from celeriac.names import NAME_LENGTH, check_text
from celeriac.priorities import Priority, priority_of
from celeriac.priorities import parse as parse_priority
from celeriac.texts import clean


class AnyDelivery(Protocol):
    """What a turn asks of a delivery that names a job; see ``Delivery``."""

    @property
    def message(self) -> Any: ...
    @property
    def job(self) -> UUID: ...
    @property
    def dispatch(self) -> int | None: ...
    @property
    def known(self) -> bool: ...
    @property
    def adopted(self) -> NewJob | None: ...
    @property
    def queue(self) -> object: ...
    @property
    def task(self) -> object: ...
    @property
    def is_paced(self) -> bool: ...
    def is_of(self, claimed: Claimed) -> bool: ...


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A delivery that names a job.

    Attributes:
        dispatch: the dispatch count in the message's stamp; None on a foreign message.
        tag: the message tag; None on a foreign message, and on one that an older version sent.
        known: whether this worker knows the task that the message names; if not, the row is read.
        adopted: the row to be written first, for a foreign message.
    """

    message: Any
    job: UUID
    dispatch: int | None
    known: bool
    adopted: NewJob | None = None
    tag: Any = None

    @property
    def queue(self) -> object:
        """The list that it was drawn from."""
        return self.adopted.queue if self.adopted else self.message.delivery_info.get("routing_key")

    @property
    def task(self) -> object:
        """The task that it names."""
        return self.message.headers.get("task")

    @property
    def is_paced(self) -> bool:
        """Whether its job has a rate."""
        return planned_start(self.message) is not None

    def is_of(self, claimed: Claimed) -> bool:
        """Whether its message is the row's current one.

        The count alone is not enough: the message of a row that was rolled back or deleted could pass for
        that of another row with the same id.
        """
        return (self.dispatch, self.tag) == (claimed.dispatch_count, claimed.message_tag)


def planned_start(message: Any) -> int | None:
    """When a message says that its job starts, in microseconds since 1970; None: it has no rate."""
    stamp = message.headers.get(STAMP) if isinstance(message.headers, dict) else None
    start = stamp.get("start") if isinstance(stamp, dict) else None
    return start if isinstance(start, int) else None


@dataclass(frozen=True, slots=True)
class _Tries:
    """How many tries adopted jobs have."""

    default: int
    declared: Mapping[str, Any]

    def of(self, task: str) -> int:
        return int(getattr(self.declared.get(task), "default_tries", self.default))


#: Of no task anything is declared.
_NONE: Mapping[str, Any] = MappingProxyType({})


def read(
    message: Any,
    tasks: Container[str],
    *,
    max_tries: int,
    declared: Mapping[str, Any] = _NONE,
    signs: bool = False,
) -> Delivery | Unreadable:
    """Read ``message``. Never raises, because anybody can push anything into a queue.

    Args:
        tasks: the names of those that this worker knows.
        max_tries: of an adopted job whose task says nothing of it.
        declared: the tasks themselves, which may say it.
        signs: whether only signed messages are taken.
    """
    try:
        found = _read(message, tasks, _Tries(max_tries, declared), signs)
    except NotSigned as exc:
        found = unreadable(message, str(exc))
    except Exception as exc:  # a delivery must never end a worker
        found = unreadable(message, f"{type(exc).__name__}: {exc}")
    return _apart(found) if signs and isinstance(found, Unreadable) else found


def _apart(found: Unreadable) -> Unreadable:
    """``found`` with a new id. An unsigned message may name any id, also that of a future job."""
    reason = f"{found.reason}; it names the job {found.id}"
    return replace(found, id=UUID(new_id()), task_id=None, reason=reason)


def _read(message: Any, tasks: Container[str], tries: _Tries, signs: bool) -> Delivery | Unreadable:
    headers = message.headers if isinstance(message.headers, dict) else {}
    job, task, stamp = row_id(headers.get("id")), headers.get("task"), headers.get(STAMP)
    dispatch, tag = (stamp.get("dispatch"), stamp.get("tag")) if isinstance(stamp, dict) else (None, None)
    if job is not None and isinstance(dispatch, int):
        # A damaged copy of ours counts as an old one, so that the message in its row is used. Where messages
        # are signed every copy does, because a signature does not cover the headers.
        old = signs or getattr(message, "damage", None) is not None
        return Delivery(message, job, -1 if old else dispatch, task in tasks, tag=tag)
    if getattr(message, "damage", None) is not None:
        return unreadable(message, message.damage)
    if job is None:
        return unreadable(message, f"its id can be no task id: {str(headers.get('id'))[:80]!r}")
    if not isinstance(task, str) or not task or len(task) > NAME_LENGTH:
        return unreadable(message, "it names no task; messages of protocol 2 are understood")
    body = signing.verify(message.body, message.content_type or "") if signs else message.decode()
    if not _is_task_body(body):
        return unreadable(message, "its body is not [args, kwargs, options]", job=job)
    if signs and signing.OWNER in (body[2] or ()):
        return unreadable(message, "it is a copy of a message of this platform, without its stamp", job=job)
    check_depth({"args": body[0], "kwargs": body[1]}, "body")
    declared = tries.declared.get(task)
    adopted = _unique(
        _limited(_adopted(message, headers, job, task, tries.of(task)), declared, body), declared, body
    )
    message.properties["priority"] = adopted.priority  # which a retry has, too
    return Delivery(message, job, None, task in tasks, adopted)


def _limited(adopted: NewJob, task: Any, body: Any) -> NewJob:
    """``adopted`` with what it takes of its task's limits: it is admitted like a job of ours."""
    if not getattr(task, "_limits", ()):
        return adopted
    takes = permits_of(task, body[0], body[1])
    return replace(adopted, permits=takes, headers={**adopted.headers, PERMITS: written(takes)})


def _unique(adopted: NewJob, task: Any, body: Any) -> NewJob:
    """``adopted`` with its key: its id is known to its producer, so it has a row of its own in any case."""
    rule = getattr(task, "_uniqueness", None)
    if rule is None or _retries(adopted.headers.get(RETRIED)):  # a retry has begun elsewhere
        return adopted
    call = UniqueCall(KeyMaker(adopted.job_type, task._called, rule).key(body[0], body[1]), rule)
    adopted = replace(adopted, unique=call, headers={**adopted.headers, UNIQUE: call.written()})
    # A debounced one waits, unless its producer says itself when it is due.
    return replace(adopted, delay=rule.wait) if rule.wait and adopted.due_at_once else adopted


def _is_task_body(body: Any) -> bool:
    if not isinstance(body, list | tuple) or len(body) != 3:
        return False
    args, kwargs, options = body
    return isinstance(args, list | tuple) and isinstance(kwargs, dict) and isinstance(options, dict | None)


def _adopted(message: Any, headers: dict[str, Any], job: UUID, task: str, max_tries: int) -> NewJob:
    queue = str(message.delivery_info.get("routing_key") or "")
    body = message.body
    kept = {key: value for key, value in headers.items() if key not in _NOT_KEPT}
    kept |= foreign_properties(message.properties, task_id(headers, job))
    if before := _retries(headers.get("retries")):
        kept[RETRIED] = before
    _check_headers(kept)
    return NewJob(
        id=job,
        job_type=check_text("task", task, length=NAME_LENGTH),
        queue=queue,
        priority=_priority(message.properties.get("priority"), queue),
        payload=body.encode("utf-8") if isinstance(body, str) else bytes(body),
        content_type=check_text("content type", message.content_type, length=NAME_LENGTH),
        content_encoding=check_text("encoding", message.content_encoding or "utf-8", length=NAME_LENGTH),
        headers=_storable(kept)
        | {
            "timelimit": list(time_limits.read(kept.get("timelimit"))),
            "eta": None,
            "expires": None,
            "retries": 0,
            ADOPTED: True,
        },
        # Fewer by those that were made elsewhere; one is left, or the message would not have been sent.
        max_tries=max(1, max_tries - before),
        not_before=_moment(headers.get("eta")),
        expires=_moment(headers.get("expires")),
        root_id=row_id(headers.get("root_id")),
        parent_id=row_id(headers.get("parent_id")),
        group_id=row_id(headers.get("group")),
    )


#: Headers of a foreign message that its row does not keep: columns have them, or they are ours to write.
_NOT_KEPT = frozenset(
    {"eta", "expires", "compression", STAMP, RETRIED, PERMITS, UNIQUE, FOLLOWS, DUE, CALLED}
)


def _retries(value: Any) -> int:
    return min(value, ENDLESS) if isinstance(value, int) and value > 0 else 0


#: Headers that are displayed and logged; the worker's main process expects text in them.
_TEXTS = ("shadow", "argsrepr", "kwargsrepr", "origin", "lang", "meth")


def _check_headers(headers: dict[str, Any]) -> None:
    """Check a foreign message's headers as the door checks those of its own messages."""
    check_depth(headers, "headers")
    for name in _TEXTS:
        if not isinstance(value := headers.get(name), str | None):
            raise BadArgument(name, f"wanted text, found {type(value).__name__}")


def done_elsewhere(
    found: Sequence[AnyDelivery], fetch_states: Callable[[Mapping[UUID, str]], Mapping[UUID, str]]
) -> set[UUID]:
    """Foreign jobs that are delivered again although their attempt was done.

    A plain worker that stops gives back what it had no time to acknowledge, also what has run.

    Args:
        fetch_states: the states in the result store, by the jobs of Celery task ids.
    """
    # kombu's Redis transport marks what it puts back in this header.
    again = [one for one in found if one.adopted and one.message.headers.get("redelivered")]
    found_states = fetch_states({one.job: one.message.headers["id"] for one in again}) if again else {}
    return {one.job for one in again if _was_done(one.message, found_states.get(one.job))}


def _was_done(message: Any, state: str | None) -> bool:
    """Whether the attempt of a foreign message was made, as its job's state in the result store says.

    RETRY is the state after any attempt that is to be followed by another one, whose message was sent before.
    So it says for sure that the first was made, and nothing of a later one, which is made again.
    """
    first = not _retries(message.headers.get("retries"))
    return state == states.SUCCESS or (state == states.RETRY and first)


def unreadable(message: Any, reason: str, *, job: UUID | None = None) -> Unreadable:
    """The dead letter for a delivery that no worker can run."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    body = getattr(message, "raw", b"") or message.body
    task, named = headers.get("task"), job or row_id(headers.get("id"))
    return Unreadable(
        named or UUID(new_id()),
        clean(str(message.delivery_info.get("routing_key") or "unknown"), NAME_LENGTH),
        clean(task, NAME_LENGTH) if isinstance(task, str) and task else "(unreadable)",
        _bytes(body),
        clean(str(message.content_type or "unknown"), NAME_LENGTH),
        clean(reason, 1000),
        task_id(headers, named) if named else None,
    )


def stamped(message: Any, claimed: Claimed, row: Message | None, *, worker: UUID, now: datetime) -> Any:
    """``message`` stamped with the claimed attempt; made from the row, where the message is an old copy."""
    raw = dict(message._raw)
    headers = dict(row.headers if row else message.headers)
    attempt, before = claimed.attempt - claimed.tries_before, retried(headers)
    headers["retries"] = attempt - 1 + before
    headers["eta"] = None
    # The database's clock decided until here. From here Celery compares with the local clock.
    headers["expires"] = claimed.expires_in and (now + claimed.expires_in).isoformat()
    headers[STAMP] = {
        "attempt": claimed.attempt,
        "try": attempt,
        "tries": min(claimed.max_tries - claimed.tries_before + before, ENDLESS),
        "worker": str(worker),
        "dispatch": -1 if row is not None else claimed.dispatch_count,
    }
    if row is None:
        message.headers = headers
        message.delivery_info["redelivered"] = claimed.redelivered
        return message
    properties = dict(raw.get("properties") or {}) | {
        "body_encoding": "base64",
        "delivery_tag": message.delivery_tag,
        "delivery_info": {"exchange": "", "routing_key": row.queue, "redelivered": claimed.redelivered},
        "correlation_id": task_id(headers, row.id),
        "priority": row.priority,
        **carried(headers),
    }
    body = base64.b64encode(row.payload).decode("ascii")
    raw |= {
        "body": body,
        "headers": headers,
        "properties": properties,
        "content-type": row.content_type,
        "content-encoding": row.content_encoding,
    }
    return type(message)(raw, channel=message.channel)


def _bytes(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    return b"" if body is None else json.dumps(body).encode("utf-8")


def _storable(headers: dict[str, Any]) -> dict[str, Any]:
    """Return ``headers``; raise ValueError when they cannot be stored as JSON."""
    json.dumps(headers, allow_nan=False)
    return headers


def _priority(value: Any, queue: str) -> int:
    try:
        if isinstance(value, int) and 0 < value < Priority.NORMAL:  # kombu's, where nine is the least
            found = adopted_priority(value, queue)
            return priority_of(queue) if found is None else found
        return parse_priority(value) if value else priority_of(queue)
    except Exception:  # a foreign producer's numbers mean what they like
        return priority_of(queue)


def _moment(value: Any) -> datetime | None:
    if not value:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if moment >= LATEST:
        raise BadArgument("eta", f"{moment:%Y-%m-%d} is too far away")
    return moment
