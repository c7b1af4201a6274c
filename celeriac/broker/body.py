"""Read the body of a message that a row holds, without running or trusting it."""

from __future__ import annotations

from typing import Any

from kombu.compression import compress
from kombu.serialization import loads

from celeriac.broker import compression, signing

_JSON = "application/json"
_MOST = 256 * 1024 * 1024  # bytes of a body; larger ones are accepted only where the settings raise the limit


def decoded(row: Any) -> Any:
    """``args, kwargs, options`` of a row's message; None when they cannot be read.

    A signature is not verified.
    """
    kind = _JSON if row.content_type == signing.CONTENT_TYPE else row.content_type
    try:
        text = signing.text(uncompressed(row), row.content_type)
        args, kwargs, options = loads(text, kind, row.content_encoding, accept={kind} & {_JSON})
    except Exception:  # such a row is a dead letter because its body cannot be read
        return None
    return args, kwargs, options


def uncompressed(row: Any) -> bytes:
    """The payload of a row as it was before its ``compression``."""
    method = row.headers.get("compression")
    if not method:
        return bytes(row.payload)
    return compression.unpacked(row.payload, method, most=max(_MOST, compression.TIMES * len(row.payload)))


def compressed_as(row: Any, payload: bytes) -> bytes:
    """Compress another ``payload`` for a row with the row's own ``compression``."""
    method = row.headers.get("compression")
    return bytes(compress(payload, method)[0]) if method else payload
