"""Keys and certificates that are made for a test, and signatures of whoever has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from celery.security.certificate import Certificate
from celery.security.key import PrivateKey
from celery.security.serialization import SecureSerializer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from kombu.serialization import registry

PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Signer:
    """A key, its certificate, and the certificates that it takes."""

    key: Path
    certificate: Path
    store: Path

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "signing_key": self.key,
            "signing_certificate": self.certificate,
            "signing_cert_store": self.store,
        }

    def sign(self, body: Any) -> bytes:
        """``body`` as Celery's own serializer signs it."""
        key, certificate = PrivateKey(self.key.read_text()), Certificate(self.certificate.read_text())
        return bytes(SecureSerializer(key, certificate).serialize(body), "utf-8")


def signer(
    home: Path, name: str = "platform", *, days: int = 2, store: Path | None = None, kind: str = "rsa"
) -> Signer:
    """A new signer below ``home``, whose certificate is in its store.

    Args:
        days: until its certificate expires.
        store: of somebody else, who will take its signatures.
        kind: rsa or ec.
    """
    store = store or home / f"{name}-store"
    store.mkdir(parents=True, exist_ok=True)
    made = Signer(home / f"{name}.key", home / f"{name}.pem", store)
    key = _key(name, kind)
    plain = serialization.NoEncryption()
    made.key.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain))
    made.certificate.write_bytes(_certificate(name, key, days).public_bytes(PEM))
    (store / f"{name}.pem").write_bytes(made.certificate.read_bytes())
    return made


@cache
def _key(name: str, kind: str) -> Any:
    """One for each name: to make an RSA key takes longer than most tests."""
    return (
        rsa.generate_private_key(65_537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )


def _certificate(name: str, key: Any, days: int) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    until = datetime.now(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=30))
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
    )


@contextmanager
def own_serializers() -> Iterator[None]:
    """Inside the block, what an app registers is registered; kombu has one registry for a process."""
    before = {name: _copy(value) for name, value in vars(registry).items()}
    try:
        yield
    finally:
        vars(registry).update(before)


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | set) else value
