"""POST an alert as JSON: signed to a webhook, or as a text to a chat. No redirects, no proxies.

The signature is that of Standard Webhooks (standardwebhooks.com), as ``tasks/webhooks.py`` makes it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import SplitResult, urlsplit

from celeriac.notify.message import lines, title

_TIMEOUT = 10.0  # seconds of each step; the job's time limit bounds them all


class NotTaken(Exception):
    """The receiver answered, and did not take it."""

    def __init__(self, host: str, status: int) -> None:
        super().__init__(host, status)

    def __str__(self) -> str:
        return f"{self.args[0]} did not take it, with {self.args[1]}"


class Unreachable(Exception):
    """There was no answer. The URL is not told: it may hold a secret."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(host, reason)

    def __str__(self) -> str:
        return f"{self.args[0]} gave no answer: {self.args[1]}"


def to_webhook(url: str, message: Mapping[str, Any], *, secret: str | None, id: str, attempt: int) -> None:
    """Post the message as it is.

    Args:
        secret: signs it; None: it is not signed.
        id: the same in every attempt, so that the receiver ignores what it has seen.

    Raises:
        NotTaken, Unreachable: again, later.
    """
    body, at = json.dumps(message, ensure_ascii=False).encode(), int(time.time())
    headers = {"webhook-id": id, "webhook-timestamp": str(at), "webhook-attempt": str(attempt)}
    if secret is not None:
        headers["webhook-signature"] = signature(_key(secret), id, at, body)
    _post(urlsplit(url), body, headers)


def to_chat(url: str, message: Mapping[str, Any]) -> None:
    """Post the message as Slack's incoming webhooks take it, and what is made like them.

    Raises:
        NotTaken, Unreachable: again, later.
    """
    text = "\n".join([title(message), *(f"• {line}" for line in lines(message))])
    for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # or it could mention everybody
        text = text.replace(sign, escaped)
    _post(urlsplit(url), json.dumps({"text": text}).encode(), {})


def signature(key: bytes, id: str, at: int, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    code = hmac.digest(key, f"{id}.{at}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(code).decode()}"


def _key(secret: str) -> bytes:
    """``whsec_`` and base64 is decoded; anything else is the key itself."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return secret.encode()


def _post(url: SplitResult, body: bytes, headers: Mapping[str, str]) -> None:
    host, place = f"{url.scheme}://{url.hostname}", url._replace(scheme="", netloc="", fragment="").geturl()
    sent = {"content-type": "application/json", "user-agent": "celeriac-alerts", "connection": "close"}
    if url.username:
        name = f"{url.username}:{url.password or ''}".encode()
        sent["authorization"] = f"Basic {base64.b64encode(name).decode()}"
    try:
        with closing(_connection(url)) as connection:
            connection.request("POST", place or "/", body=body, headers={**sent, **headers})
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        raise Unreachable(host, getattr(exc, "strerror", None) or type(exc).__name__) from None
    if not 200 <= status < 300:
        raise NotTaken(host, status)


def _connection(url: SplitResult) -> http.client.HTTPConnection:
    host = url.hostname or ""
    if url.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, url.port, timeout=_TIMEOUT, context=context)
    return http.client.HTTPConnection(host, url.port, timeout=_TIMEOUT)
