"""Check the key and the certificates for signing: they can be read and belong together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from celery.exceptions import ImproperlyConfigured, SecurityError


class SigningFiles(Protocol):
    """The settings that name the files."""

    @property
    def signing_key(self) -> Path | None: ...
    @property
    def signing_certificate(self) -> Path | None: ...
    @property
    def signing_cert_store(self) -> Path | None: ...


def problems(settings: SigningFiles) -> list[str]:
    """The problems with the files that the settings name, one sentence each."""
    try:
        from celery.security.certificate import Certificate, FSCertStore
        from celery.security.key import PrivateKey
    except (ImportError, ImproperlyConfigured):
        return ["CELERIAC_SIGNING_KEY: messages are signed with a library: pip install 'celeriac[auth]'"]
    found: list[str] = []
    key = _load(found, "KEY", settings.signing_key, "an RSA key in PEM without a passphrase", PrivateKey)
    certificate = _load(
        found, "CERTIFICATE", settings.signing_certificate, "an RSA certificate in PEM", Certificate
    )
    store = _store(found, settings.signing_cert_store, FSCertStore)
    if key and certificate:
        found += _misfits(key, certificate, store)
    return found


def expiry(certificate: Path) -> datetime:
    """When a valid certificate expires; aware, in UTC."""
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def _load(found: list[str], name: str, path: Path | None, wanted: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(Path(str(path)).read_text())
    except OSError as exc:
        found.append(f"CELERIAC_SIGNING_{name}: {path} cannot be read: {exc.strerror}")
    except (SecurityError, TypeError, ValueError):  # the error's text may quote the file
        found.append(f"CELERIAC_SIGNING_{name}: wanted {wanted}, {path} is none")
    return None


def _store(found: list[str], path: Path | None, read: Callable[[str], Any]) -> Any:
    try:
        store = read(str(path))
    except (OSError, SecurityError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        found.append(
            f"CELERIAC_SIGNING_CERT_STORE: wanted certificates in PEM and nothing else in {path}: {reason}"
        )
        return None
    if not list(store.itercerts()):
        found.append(f"CELERIAC_SIGNING_CERT_STORE: no certificate is in {path}")
        return None
    return store


def _misfits(key: Any, certificate: Any, store: Any) -> list[str]:
    if not _verifies(certificate, key):
        return ["CELERIAC_SIGNING_CERTIFICATE: it has expired, or is not the certificate of the signing key"]
    try:
        known = store is None or _verifies(store[certificate.get_id()], key)
    except SecurityError:
        known = False
    if known:
        return []
    return [
        "CELERIAC_SIGNING_CERT_STORE: the own certificate is not in it: no worker would take its messages"
    ]


def _verifies(certificate: Any, key: Any) -> bool:
    from celery.security.utils import get_digest_algorithm

    digest = get_digest_algorithm()
    try:
        certificate.verify(b"probe", key.sign(b"probe", digest), digest)
    except Exception:  # for an invalid signature Celery raises a TypeError, too
        return False
    return True
