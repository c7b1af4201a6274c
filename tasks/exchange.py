"""One HTTP POST within a deadline, with an answer of bounded length. No redirects, no proxies, no retries."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import SplitResult

ANSWER_LIMIT = 65_536  # bytes that are read of an answer
EXCERPT = 200  # characters of an answer that are kept

#: No answer in time, or none that is HTTP.
NO_ANSWER = (OSError, http.client.HTTPException)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The receiver's answer."""

    status: int
    retry_after: str | None = None  # as it was sent
    excerpt: str = ""  # the beginning of its text; empty when it is none


def post(url: SplitResult, body: bytes, *, headers: Mapping[str, str], timeout: float) -> Answer:
    """Send ``body`` and return the answer, whatever its status is.

    Args:
        timeout: seconds from connecting to the end of the answer, in all. Only the system's name resolver
            may take longer.

    Raises:
        OSError, http.client.HTTPException: see ``NO_ANSWER``.
    """
    deadline = time.monotonic() + timeout
    target = url._replace(scheme="", netloc="", fragment="").geturl() or "/"
    with _connected(url, deadline) as connection:
        connection.request("POST", target, body=body, headers=dict(headers))
        with connection.getresponse() as response:
            return Answer(
                status=response.status,
                retry_after=response.headers.get("Retry-After"),
                excerpt=_excerpt(_body(response), response.headers.get_content_type()),
            )


def reason(error: Exception) -> str:
    """Why there was no answer; the text has nothing of what was sent.

    >>> reason(ConnectionRefusedError(111, "Connection refused"))
    'Connection refused'
    """
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return getattr(error, "strerror", None) or type(error).__name__


@contextmanager
def _connected(url: SplitResult, deadline: float) -> Iterator[http.client.HTTPConnection]:
    host, port, left = url.hostname or "", url.port, _left(deadline)
    with closing(
        http.client.HTTPSConnection(host, port, timeout=left, context=_trust())
        if url.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=left)
    ) as connection:
        connection.connect()
        connection.sock.settimeout(_left(deadline))  # holds for all of one sendall()

        def response(sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
            return http.client.HTTPResponse(_UntilDeadline(sock, deadline), *args, **kwargs)

        connection.response_class = response
        yield connection


class _UntilDeadline(io.RawIOBase):
    """Reads from a socket until a deadline. A socket's own timeout begins again with every byte."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open when http.client closes it
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def _body(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(ANSWER_LIMIT)
    except NO_ANSWER:
        return b""  # the status is known, and decides: a webhook that was accepted is not sent again


def _excerpt(body: bytes, kind: str) -> str:
    if not (kind.startswith("text/") or kind.endswith("json")):
        return ""
    text = " ".join(body[: 4 * EXCERPT].decode("utf-8", "replace").split())
    return "".join(character for character in text if character.isprintable())[:EXCERPT]
