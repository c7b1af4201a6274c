"""The body of a message as its row holds it, read without running or trusting it."""

from __future__ import annotations

from typing import Any

from kombu.compression import compress
from kombu.serialization import loads

from celeriac.broker import compression, signing

_JSON = "application/json"
_MOST = 256 * 1024 * 1024  # bytes of a body; the door accepts no larger ones unless it is told to


def decoded(row: Any) -> Any:
    """``args, kwargs, options`` of a row's message; None when they cannot be read.

    A signature is not looked at.
    """
    kind = _JSON if row.content_type == signing.CONTENT_TYPE else row.content_type
    try:
        text = signing.text(uncompressed(row), row.content_type)
        args, kwargs, options = loads(text, kind, row.content_encoding, accept={kind} & {_JSON})
    except Exception:  # kept as a dead letter for the very reason that it cannot be read
        return None
    return args, kwargs, options


def uncompressed(row: Any) -> bytes:
    """The payload of a row as it was before its ``compression``."""
    method = row.headers.get("compression")
    if not method:
        return bytes(row.payload)
    return compression.unpacked(row.payload, method, most=max(_MOST, compression.TIMES * len(row.payload)))


def compressed_as(row: Any, payload: bytes) -> bytes:
    """Another ``payload`` for a row, as the row's ``compression`` says that it is."""
    method = row.headers.get("compression")
    return bytes(compress(payload, method)[0]) if method else payload
