"""Unpack compressed bodies up to a limit: a few bytes may unpack to more than fits into memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from kombu.compression import get_encoder
from kombu.utils.encoding import ensure_bytes

#: Times the payload limit that a compressed body may unpack to.
TIMES = 32

_Decoder = Callable[[], Any]


def _bz2() -> Any:
    from bz2 import BZ2Decompressor

    return BZ2Decompressor()


def _lzma() -> Any:
    from lzma import LZMADecompressor

    return LZMADecompressor()


#: Those of kombu's methods whose decoders can stop at a limit.
_DECODERS: dict[str, _Decoder] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": _bz2,
    "application/x-lzma": _lzma,
}


def content_type(method: str) -> str:
    """The content type of a method by one of its names.

    >>> content_type("zlib")
    'application/x-gzip'

    Raises:
        KeyError: kombu does not know it, or its decoder cannot stop at a limit.
    """
    found = str(get_encoder(method)[1])
    if found not in _DECODERS:
        raise KeyError(method)
    return found


def unpacked(packed: bytes | str, method: str, *, most: int) -> bytes:
    """What ``packed`` was before its compression.

    Raises:
        ValueError: it would be more than ``most`` bytes, it is cut off, or the method is unknown.
        Exception: any error of the method's decoder.
    """
    try:
        decoder = _DECODERS[content_type(method)]()
    except KeyError:
        raise ValueError(f"unknown compression {str(method)[:80]!r}") from None
    found = decoder.decompress(ensure_bytes(packed), most + 1)
    if len(found) > most:
        raise ValueError(f"its body unpacks to more than {most:,} bytes")
    if not decoder.eof:
        raise ValueError("its compressed body is cut off")
    return bytes(found)
