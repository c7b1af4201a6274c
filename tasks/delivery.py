"""Prepare a webhook: check its arguments, write its body, sign its headers."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

TIMEOUT, LONGEST_TIMEOUT = 10.0, 300.0  # seconds of one attempt

_SECRET_NAME = re.compile(r"WEBHOOK_[A-Z0-9_]{1,100}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, section 5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,4000}")
_NOT_THE_CALLERS = re.compile(
    r"webhook-.*|content-(type|length)|host|connection|transfer-encoding|te|trailer|upgrade|expect"
)


class BadDelivery(ValueError):
    """An argument is wrong, and a retry cannot help."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(argument, reason)

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class SecretMissing(LookupError):
    """This worker's environment lacks a secret. Another worker, or this one after a restart, may have it."""

    def __init__(self, variable: str) -> None:
        super().__init__(variable)

    def __str__(self) -> str:
        return f"this worker finds no secret in the environment variable {self.args[0]}"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A webhook with checked arguments."""

    url: SplitResult
    body: bytes
    secret_env: str | None
    headers: Mapping[str, str]
    timeout: float

    @classmethod
    def of(
        cls,
        url: object,
        payload: object,
        *,
        secret_env: object = None,
        headers: object = None,
        timeout: object = TIMEOUT,
    ) -> Delivery:
        """A delivery made of these arguments, as ``deliver`` takes them.

        Raises:
            BadDelivery: one of them is not valid.
        """
        return cls(
            url=_url(url),
            body=_json(payload),
            secret_env=_variable(secret_env),
            headers=_headers(headers),
            timeout=_seconds(timeout),
        )

    @property
    def host(self) -> str:
        """Scheme and host of the URL, for messages. The path or the query may hold a secret."""
        return f"{self.url.scheme}://{self.url.netloc}"

    def signed(self, id: str, *, attempt: int, at: int) -> dict[str, str]:
        """The headers of one attempt.

        Raises:
            SecretMissing: this process's environment does not have the secret.
        """
        ours = {
            "content-type": "application/json",
            "connection": "close",
            "webhook-id": id,
            "webhook-timestamp": str(at),
            "webhook-attempt": str(attempt),
        }
        if self.secret_env is not None:
            ours["webhook-signature"] = signature(_secret(self.secret_env), id, at, self.body)
        return {"user-agent": "celeriac-webhooks", **self.headers, **ours}


def signature(secret: bytes, id: str, at: int, body: bytes) -> str:
    """The value of ``webhook-signature`` for ``body``, signed ``at`` (seconds since 1970)."""
    code = hmac.digest(secret, f"{id}.{at}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(code).decode()}"


def _url(url: object) -> SplitResult:
    if not isinstance(url, str) or not url.isascii() or re.search(r"[\x00-\x20\x7f]", url):
        raise BadDelivery("url", "wanted ASCII without spaces: quote the path, write the host in Punycode")
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")  # as the resolver does: fails for an empty or too long label
    except ValueError:
        sound = False
    if not sound:
        raise BadDelivery("url", "wanted http://host/… or https://host/…")
    if "@" in parts.netloc:
        raise BadDelivery("url", "credentials in it would be shown to people: send them in headers")
    return parts


def _json(payload: object) -> bytes:
    try:
        text = json.dumps(payload, default=_text, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadDelivery("payload", f"cannot be written as JSON ({type(exc).__name__})") from None


def _text(value: object) -> str:
    """The text for a value that JSON has no form for."""
    if isinstance(value, date | time):  # a datetime is a date, too
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise TypeError(type(value).__name__)


def _variable(name: object) -> str | None:
    if name is None or (isinstance(name, str) and _SECRET_NAME.fullmatch(name)):
        return name
    # The value is not shown: it may be the secret itself.
    raise BadDelivery("secret_env", "wanted the name of an environment variable that begins with WEBHOOK_")


def _headers(headers: object) -> dict[str, str]:
    if not isinstance(headers, Mapping | None):
        raise BadDelivery("headers", f"wanted names and values, found {type(headers).__name__}")
    found: dict[str, str] = {}
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise BadDelivery("headers", f"{name!r} cannot be the name of a header")
        if _NOT_THE_CALLERS.fullmatch(name.lower()):
            raise BadDelivery("headers", f"{name!r} is not the caller's to set")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise BadDelivery("headers", f"the value of {name!r} cannot be sent in a header")
        found[name.lower()] = value
    return found


def _seconds(timeout: object) -> float:
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout <= LONGEST_TIMEOUT:
        limit = f"{LONGEST_TIMEOUT:g}"
        raise BadDelivery("timeout", f"wanted seconds above 0 and up to {limit}, found {timeout!r}")
    return timeout


def _secret(variable: str) -> bytes:
    value = os.environ.get(variable, "")
    if not value.startswith("whsec_"):
        secret = value.encode("utf-8", "surrogateescape")
    else:
        try:
            secret = base64.b64decode(value.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            secret = b""
    if not secret:
        raise SecretMissing(variable)
    return secret
