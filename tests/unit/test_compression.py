"""Compressed bodies are unpacked up to a bound, wherever they come from."""

from __future__ import annotations

import base64
import json
import zlib
from functools import cache
from typing import Any

import pytest
from kombu import Connection
from kombu.compression import compress

from celeriac.broker.compression import unpacked
from celeriac.broker.message import DAMAGED, Message, parse

METHODS = ["gzip", "zlib", "bzip2", "lzma", "application/x-gzip"]
BODY = b'[["' + b"x" * 10_000 + b'"], {}, {}]'


@pytest.mark.parametrize("method", METHODS)
def test_what_kombu_packs_is_unpacked(method: str) -> None:
    assert unpacked(compress(BODY, method)[0], method, most=len(BODY)) == BODY


@pytest.mark.parametrize("method", METHODS)
def test_no_more_is_unpacked_than_the_bound(method: str) -> None:
    with pytest.raises(ValueError, match=f"unpacks to more than {len(BODY) - 1:,} bytes"):
        unpacked(compress(BODY, method)[0], method, most=len(BODY) - 1)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_cut_off_is_refused(method: str) -> None:
    packed = compress(BODY, method)[0]
    with pytest.raises((ValueError, EOFError)):
        unpacked(packed[:-5], method, most=len(BODY))


def test_a_method_that_knows_no_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown compression 'x'"):
        unpacked(b"", "x", most=10)


@cache
def channel() -> Any:
    return Connection("memory://").channel()


def arrived(packed: bytes) -> Message:
    raw = {
        "body": base64.b64encode(packed).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": "1", "task": "x", "compression": "application/x-gzip"},
        "properties": {"body_encoding": "base64", "delivery_tag": "t", "delivery_info": {}},
    }
    return Message(parse(json.dumps(raw).encode(), "normal"), channel=channel())


def test_a_message_is_unpacked_as_kombu_does() -> None:
    message = arrived(zlib.compress(BODY))
    assert (message.body, message.damage, message.headers["compression"]) == (
        BODY,
        None,
        "application/x-gzip",
    )
    assert message._raw["headers"] is message.headers


def test_a_message_that_would_fill_the_memory_is_damaged() -> None:
    packed = zlib.compress(bytes(40_000_000))
    message = arrived(packed)
    assert (message.content_type, message.raw) == (DAMAGED, packed)
    assert message.damage == "ValueError: its body unpacks to more than 32,000,000 bytes"
    assert not message.body
