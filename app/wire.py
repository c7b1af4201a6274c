"""A message as it stands in a queue of the broker: kombu's format, written in one go.

The same text that kombu's virtual transports make, without their steps in between; a test holds
the two together. Nothing is sent here.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from json import JSONEncoder
from random import getrandbits
from typing import Any, Protocol
from uuid import UUID

#: The header that carries what the ledger says of a message's attempt.
STAMP = "celeriac"

#: AMQP's delivery mode of a message that outlives the broker's process.
PERSISTENT = 2

_encode = JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Sendable(Protocol):
    """What a message is made of."""

    @property
    def id(self) -> UUID: ...
    @property
    def queue(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def content_type(self) -> str: ...
    @property
    def content_encoding(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, Any]: ...
    @property
    def dispatch_count(self) -> int: ...


def write(job: Sendable) -> str:
    """The message of ``job``, stamped with its dispatch count.

    Raises:
        TypeError: its headers are no JSON.
    """
    return _encode(
        {
            "body": b64encode(job.payload).decode(),
            "content-encoding": job.content_encoding,
            "content-type": job.content_type,
            "headers": {**job.headers, STAMP: {"dispatch": job.dispatch_count}},
            "properties": {
                "correlation_id": str(job.id),
                "delivery_mode": PERSISTENT,
                "delivery_info": {"exchange": "", "routing_key": job.queue},
                "priority": job.priority,
                "body_encoding": "base64",
                "delivery_tag": f"{getrandbits(128):032x}",
            },
        }
    )
