"""Sign and verify messages, with Celery's ``auth`` serializer and the settings' key and certificates.

A signature is accepted when its certificate is in the store. The body of a message is signed. The door adds
the job's id and task to the body, because headers are not signed and could be changed on the way.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kombu.serialization import dumps, loads, registry

from celeriac import certificates
from celeriac.errors import NotSigned, SettingsError

if TYPE_CHECKING:
    from celery import Celery

    from celeriac.settings.platform import Settings

#: Celery's name for the serializer, and the content type of what it writes.
SERIALIZER, CONTENT_TYPE = "auth", "application/data"

#: The option of a signed body that holds the id and the task of its job.
OWNER = "celeriac_job"

_NOT_VALID = (
    "its signature does not hold: it is forged or was changed, or its certificate has expired or is not "
    "in CELERIAC_SIGNING_CERT_STORE"
)


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings when messages are signed; empty when they are not."""
    if not settings.signs:
        return {}
    return {
        "task_serializer": SERIALIZER,
        "accept_content": [SERIALIZER],
        "result_accept_content": ["json"],  # results are not signed
    }


def set_up(app: Celery, settings: Settings) -> None:
    """Register the serializer for this process.

    Raises:
        SettingsError: with every problem of the key and the certificates.
    """
    if not settings.signs:
        return
    if found := certificates.problems(settings):
        raise SettingsError(found)
    app.setup_security(
        allowed_serializers=["json"],  # else JSON that is read without naming it is refused
        key=str(settings.signing_key),
        cert=str(settings.signing_certificate),
        store=str(settings.signing_cert_store),
    )
    registry.enable(SERIALIZER)  # a second app, or a configuration that is read again, has disabled it


def bind_to_job(body: Sequence[Any], headers: Mapping[str, Any]) -> tuple[Any, ...]:
    """``body`` with its job's id and task, so that it is not valid for another job."""
    args, kwargs, options = body
    return args, kwargs, {**(options or {}), OWNER: [headers["id"], headers["task"]]}


def sign(body: Any) -> bytes:
    """The signed form of ``body``."""
    text = dumps(body, serializer=SERIALIZER)[2]
    return bytes(text) if isinstance(text, bytes) else str(text).encode()


def verify(payload: bytes, content_type: str) -> Any:
    """The body of a signed message, if its signature is valid.

    Raises:
        NotSigned: it has no signature, or an invalid one.
    """
    if content_type != CONTENT_TYPE or not payload:
        raise NotSigned(f"its body is not signed but {content_type[:80]}" if payload else "its body is empty")
    try:
        return loads(payload, CONTENT_TYPE, "utf-8", accept={CONTENT_TYPE})
    except Exception as exc:  # bytes from anybody: decoding, cryptography or JSON may raise anything
        raise NotSigned(_NOT_VALID) from exc


def check(payload: bytes, content_type: str, headers: Mapping[str, Any]) -> None:
    """Verify a message, and that it was signed for this job.

    Raises:
        NotSigned: its signature is invalid, or was made for another job.
    """
    body = verify(payload, content_type)
    owner = body[2].get(OWNER) if isinstance(body, list) and len(body) == 3 and body[2] else None
    if owner is not None and owner != [headers.get("id"), headers.get("task")]:
        raise NotSigned("it was signed for another job or task")


def text(payload: bytes, content_type: str) -> bytes:
    """A body without its signature, which is not verified.

    It needs no key and no library.
    """
    if content_type != CONTENT_TYPE:
        return payload
    parts = b64decode(payload).split(b"\x00\x01", maxsplit=4)  # signer, signature, type, encoding, body
    return parts[4]
