"""A message as it is taken from the broker, readable or damaged."""

from __future__ import annotations

import base64
from typing import Any

from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from celeriac.broker import compression

#: The content type under which a body is kept that cannot be read.
DAMAGED = "application/x-celeriac-damaged"

#: Bytes that a compressed body may unpack to, unless the channel says otherwise.
UNPACK_LIMIT = 32_000_000


class Message(virtual.Message):
    """A message that was taken from a list. One that cannot be read is marked as damaged.

    kombu would raise instead, and the worker that met it would end.

    Attributes:
        damage: why the delivery cannot be read; None when it can.
        raw: the bytes that were found; empty when it can be read.
    """

    damage: str | None = None
    raw: bytes = b""
    body: Any
    errors: list[Any]
    delivery_tag: Any

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        try:
            packed, plain = _without_compression(payload)
            super().__init__(plain, channel=channel, **kwargs)
            if packed:
                most = getattr(channel, "unpack_limit", UNPACK_LIMIT)
                self.body = compression.unpacked(self.body, packed, most=most)
                self.headers, self._raw = payload["headers"], payload
        except Exception as exc:  # anybody can push anything into a queue
            properties = _properties(payload)
            super().__init__(_damaged_payload(properties), channel=channel, **kwargs)
            self.damage, self.raw = f"{type(exc).__name__}: {exc}", _raw_bytes(payload)
            self.headers = _headers(payload)
            if isinstance(payload, dict) and "damage" in payload:
                self.damage = str(payload["damage"])
        if self.errors:  # kombu keeps what it could not understand for later
            error = self.errors[0][1]
            self.damage, self.raw = f"{type(error).__name__}: {error}", _raw_bytes(payload)
            self.errors = []
        if not isinstance(self.delivery_tag, str):
            self.delivery_tag = virtual.base.uuid()


def parse(item: bytes, queue: str) -> Any:
    """The payload of ``Message`` for an item of the list ``queue``; never raises."""
    try:
        found = loads(bytes_to_str(item))
    except Exception as exc:  # not JSON, not even text
        return {"damage": f"{type(exc).__name__}: {exc}", "raw": item, "queue": queue}
    if isinstance(found, dict) and isinstance(found.get("properties"), dict):
        found["properties"]["delivery_info"] = {"exchange": "", "routing_key": queue}  # where it was found
        return found
    return {"damage": "not a message", "raw": item, "queue": queue}


def _without_compression(payload: Any) -> tuple[str | None, Any]:
    """The compression of a message, and the message without it: kombu unpacks without a limit."""
    headers = _headers(payload)
    packed = headers.get("compression")
    if not packed:
        return None, payload
    return packed, payload | {"headers": {key: headers[key] for key in headers if key != "compression"}}


def _properties(payload: Any) -> dict[str, Any]:
    properties = payload.get("properties") if isinstance(payload, dict) else None
    if isinstance(properties, dict):
        return properties
    queue = payload.get("queue", "") if isinstance(payload, dict) else ""
    return {"delivery_info": {"exchange": "", "routing_key": queue}}


def _damaged_payload(properties: dict[str, Any]) -> dict[str, Any]:
    info = properties.get("delivery_info")
    return {
        "body": "",
        "content-type": DAMAGED,
        "content-encoding": "binary",
        "headers": {},
        "properties": {
            "delivery_tag": properties.get("delivery_tag") or virtual.base.uuid(),
            "delivery_info": info if isinstance(info, dict) else {},
        },
    }


def _raw_bytes(payload: Any) -> bytes:
    if isinstance(payload, dict) and isinstance(payload.get("raw"), bytes):
        return bytes(payload["raw"])
    body = payload.get("body") if isinstance(payload, dict) else None
    try:
        return base64.b64decode(str(body), validate=True)
    except (TypeError, ValueError):
        return str(body if body is not None else payload).encode("utf-8", "replace")


def _headers(payload: Any) -> dict[str, Any]:
    headers = payload.get("headers") if isinstance(payload, dict) else None
    return headers if isinstance(headers, dict) else {}
