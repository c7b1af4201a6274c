"""A job of the lean lane: it is drawn, claimed, run and recorded without a message or a request of Celery's.

Both are made as soon as anything but a plain success happens to it, or somebody asks for them.
"""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kombu.transport.virtual import Message as KombuMessage

from celeriac.enqueue.time_limits import Limits
from celeriac.headers import STAMP
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.claims import Claimed
from celeriac.ledger.writes.replay import ENDLESS
from celeriac.task.results.carried import CarriedResult
from celeriac.worker.gate import deliveries


class LeanJob:
    """A delivery, and then the attempt for which it was won. It stands where a ``Delivery`` does.

    Attributes:
        item: the message as it was drawn.
        payload: the same, decoded once.
        queue: the list that it was drawn from.
        id: its Celery task id, which is the row's id as text.
        limits: what its message says of time limits.
        permits: what it takes of limits, by name.
        channel: of the broker, from which it was drawn.
        claimed, row: what the claim has won, and the row where the message is an old copy; None before.
        entry: its place in the last bundle that it was put into; the pool's.
        request: Celery's request, once it was made.
        began: when it began, on the monotonic clock; None: it has not ended.
        returned: what Celery's tracer returned then.
        carried: its result, where the child has not stored it.
    """

    __slots__ = (
        "__weakref__",
        "began",
        "carried",
        "channel",
        "claimed",
        "dispatch",
        "entry",
        "id",
        "item",
        "job",
        "limits",
        "payload",
        "permits",
        "queue",
        "request",
        "returned",
        "row",
        "tag",
        "task",
    )

    known = True
    adopted = None
    is_paced = False

    def __init__(
        self,
        item: bytes,
        payload: dict[str, Any],
        queue: str,
        channel: Any,
        *,
        job: UUID,
        task: str,
        dispatch: int,
        tag: Any,
        limits: Limits,
        permits: tuple[str, ...] = (),
    ) -> None:
        self.item = item
        self.payload = payload
        self.queue = queue
        self.channel = channel
        self.job = job
        self.id: str = payload["headers"]["id"]
        self.task = task
        self.dispatch = dispatch
        self.tag = tag
        self.limits = limits
        self.permits = permits
        self.claimed: Claimed | None = None
        self.row: claims.Message | None = None
        self.entry: Any = None
        self.request: Any = None
        self.began: float | None = None
        self.returned: Any = None
        self.carried: CarriedResult | None = None

    # ---- a delivery

    @property
    def message(self) -> LeanJob:
        """What was drawn: itself."""
        return self

    @property
    def headers(self) -> dict[str, Any]:
        headers: dict[str, Any] = self.payload["headers"]
        return headers

    @property
    def delivery_info(self) -> dict[str, Any]:
        return {"exchange": "", "routing_key": self.queue}

    @property
    def body(self) -> bytes:
        return b64decode(self.payload["body"])

    @property
    def content_type(self) -> str:
        return str(self.payload["content-type"])

    def is_of(self, claimed: Claimed) -> bool:
        """See ``Delivery.is_of``."""
        return self.dispatch == claimed.dispatch_count and self.tag == claimed.message_tag

    # ---- an attempt

    @property
    def attempt(self) -> int:
        """The number of the attempt that was won."""
        assert self.claimed is not None
        return self.claimed.attempt

    @property
    def shown_task(self) -> str:
        """The task's name, as a caller may have it shown."""
        return str(self.headers.get("shadow") or self.task)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is known of the row by now for which Celery would be needed."""
        claimed = self.claimed
        return (
            claimed is not None
            and self.row is None
            and claimed.expires_in is None
            and not claimed.failed_before
        )

    def as_message(self, worker: UUID) -> Any:
        """The message that Celery takes, as the Request lane would have it."""
        assert self.claimed is not None
        self.payload["properties"]["delivery_info"] = self.delivery_info
        message: KombuMessage = self.channel.Message(self.payload, channel=self.channel)
        self.channel.qos.append(message, message.delivery_tag)
        return deliveries.stamped(message, self.claimed, self.row, worker=worker, now=datetime.now(UTC))

    def call(self) -> Call:
        """What a child needs of it; ``arguments`` reads it there."""
        claimed = self.claimed
        assert claimed is not None
        attempt = claimed.attempt, claimed.max_tries, claimed.tries_before, claimed.dispatch_count
        return self.item, self.queue, attempt


#: The message, the list, and the numbers of the attempt. To pickle what the message says would take the main
#: process longer than it takes a child to decode it again.
Call = tuple[bytes, str, tuple[int, int, int, int]]

_decode = json.JSONDecoder().decode


def arguments(call: Call, *, hostname: str, worker: str) -> tuple[Any, ...]:
    """The arguments for Celery's tracer: the same that the request of such a job would give it."""
    item, queue, numbers = call
    payload = _decode(item.decode())
    headers, properties = payload["headers"], payload["properties"]
    attempt, max_tries, before, dispatch = numbers
    count = attempt - before
    found = {"exchange": "", "routing_key": queue}
    properties["delivery_info"] = found | {"redelivered": False}
    headers["retries"] = count - 1
    headers["eta"] = headers["expires"] = None
    headers[STAMP] = {
        "attempt": attempt,
        "try": count,
        "tries": min(max_tries - before, ENDLESS),
        "worker": worker,
        "dispatch": dispatch,
    }
    headers["properties"] = properties
    headers["reply_to"] = properties.get("reply_to")
    headers["correlation_id"] = properties.get("correlation_id")
    headers["hostname"] = hostname
    headers["delivery_info"] = {**found, "priority": properties.get("priority"), "redelivered": False}
    body, kind, encoding = b64decode(payload["body"]), payload["content-type"], payload["content-encoding"]
    return headers["task"], headers["id"], headers, body, kind, encoding
