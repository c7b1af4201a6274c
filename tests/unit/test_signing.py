"""Signed messages: whose signature is taken, for what, and what is said of the files it is made with."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from cryptography.hazmat.primitives import serialization
from kombu.utils.json import dumps, loads

from celeriac import certificates
from celeriac.broker import signing
from celeriac.errors import NotSigned, SettingsError
from celeriac.headers import CHORD
from celeriac.ledger.schema.columns import LATEST
from celeriac.ledger.upkeep.parked import Body
from celeriac.settings.platform import Settings
from celeriac.worker.duties.workflows import with_results
from tests.new_jobs import new_job
from tests.signers import PEM, Signer, own_serializers, signer

BODY: Any = [[1, "ü", LATEST], {"to": "x\x00\x01y"}, {"callbacks": None}]
HEADERS = {"id": "0192d3a4-0000-7000-8000-000000000001", "task": "mail.send"}
KIND = signing.CONTENT_TYPE


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    """Whose signatures this process makes and takes."""
    made = signer(tmp_path_factory.mktemp("signers"))
    with own_serializers():
        app = Celery(set_as_current=False, config_source=signing.configuration(settings(made)))
        signing.set_up(app, settings(made))
        yield made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return signer(tmp_path_factory.mktemp("strangers"), "stranger")


def settings(of: Signer, **others: Any) -> Settings:
    return Settings(**(of.settings | others))


# Bodies


def test_what_was_sealed_is_opened(ours: Signer) -> None:
    assert signing.verify(signing.sign(BODY), KIND) == BODY


def test_a_signed_body_is_read_without_a_key(ours: Signer, stranger: Signer) -> None:
    """Celery's format, of which the parts are known here, too."""
    for payload in (signing.sign(BODY), stranger.sign(BODY)):
        assert loads(signing.text(payload, KIND)) == BODY
    assert signing.text(b"[1]", "application/json") == b"[1]"


def changed(payload: bytes) -> bytes:
    """The body is another, the signature the same."""
    return base64.b64encode(base64.b64decode(payload).replace(b'"to"', b'"of"'))


@pytest.mark.parametrize("kind", ["application/json", "application/text", ""])
def test_a_body_without_a_signature_is_refused(ours: Signer, kind: str) -> None:
    with pytest.raises(NotSigned, match="its body is not signed"):
        signing.verify(dumps(BODY).encode(), kind)


def test_a_body_that_was_changed_is_refused(ours: Signer) -> None:
    payload = changed(signing.sign(BODY))
    assert b'"of"' in signing.text(payload, KIND)
    with pytest.raises(NotSigned, match="does not hold"):
        signing.verify(payload, KIND)


@pytest.mark.parametrize("payload", [b"", b"[[], {}, {}]", b"\xff\x00", b"AAAA"])
def test_what_only_calls_itself_signed_is_refused(ours: Signer, payload: bytes) -> None:
    with pytest.raises(NotSigned):
        signing.check(payload, KIND, HEADERS)


def test_a_strangers_signature_is_refused(ours: Signer, stranger: Signer) -> None:
    with pytest.raises(NotSigned, match="does not hold"):
        signing.verify(stranger.sign(BODY), KIND)


def test_a_signature_is_for_one_job_of_one_task(ours: Signer) -> None:
    payload = signing.sign(signing.bind_to_job(BODY, HEADERS))
    signing.check(payload, KIND, HEADERS)
    for other in ({"id": "0192d3a4-0000-7000-8000-000000000002"}, {"task": "mail.drop"}):
        with pytest.raises(NotSigned, match="another job or task"):
            signing.check(payload, KIND, HEADERS | other)


def test_a_producer_outside_signs_for_no_job_of_ours(ours: Signer) -> None:
    signing.check(signing.sign(BODY), KIND, HEADERS)


# A chord's body, which a keeper writes anew


def parked(payload: bytes) -> Body:
    return Body(new_job().id, payload, KIND, HEADERS | {CHORD: {"size": 2}})


def test_a_chords_body_is_signed_anew_with_its_results(ours: Signer) -> None:
    payload = with_results(parked(signing.sign(signing.bind_to_job(BODY, HEADERS))), '1, "b"')
    assert signing.verify(payload, KIND)[0] == [[1, "b"], *BODY[0]]
    signing.check(payload, KIND, HEADERS)


def test_a_forged_chords_body_is_not_signed(ours: Signer, stranger: Signer) -> None:
    with pytest.raises(NotSigned):
        with_results(parked(stranger.sign(BODY)), "1")


# The files


def problems(of: Signer, **others: Any) -> list[str]:
    return certificates.problems(settings(of, **others))


def test_files_that_fit_have_no_problem(ours: Signer) -> None:
    assert problems(ours) == []


def test_every_file_has_its_own_sentence(ours: Signer, tmp_path: Path) -> None:
    nowhere, broken = tmp_path / "nowhere", tmp_path / "broken"
    broken.write_text("-----BEGIN hunter2-----")
    found = problems(ours, signing_key=broken, signing_certificate=nowhere, signing_cert_store=nowhere)
    assert len(found) == 3
    assert (
        found[0] == f"CELERIAC_SIGNING_KEY: wanted an RSA key in PEM without a passphrase, {broken} is none"
    )
    assert found[1] == f"CELERIAC_SIGNING_CERTIFICATE: {nowhere} cannot be read: No such file or directory"
    assert found[2] == f"CELERIAC_SIGNING_CERT_STORE: no certificate is in {nowhere}"


def test_a_key_with_a_passphrase_cannot_be_used(ours: Signer, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(ours.key.read_bytes(), password=None)
    locked = serialization.BestAvailableEncryption(b"hunter2")
    path = tmp_path / "locked.key"
    path.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, locked))
    (problem,) = problems(ours, signing_key=path)
    assert "without a passphrase" in problem


def test_an_elliptic_key_cannot_be_used(tmp_path: Path) -> None:
    found = problems(signer(tmp_path, kind="ec"))
    assert [problem.partition(":")[0].rpartition("_")[2] for problem in found] == [
        "KEY",
        "CERTIFICATE",
        "STORE",
    ]


def test_an_expired_certificate_is_named(tmp_path: Path) -> None:
    found = problems(signer(tmp_path, days=-1))
    assert len(found) in (
        1,
        2,
    )  # Celery before 5.6 reads the key and its certificate without a look at the date
    assert "Expired certificate: 'platform" in " ".join(found)


def test_a_key_must_fit_its_certificate(ours: Signer, stranger: Signer) -> None:
    (problem,) = problems(ours, signing_key=stranger.key)
    assert "is not the certificate of the signing key" in problem


def test_ones_own_certificate_must_be_in_the_store(ours: Signer, stranger: Signer) -> None:
    (problem,) = problems(ours, signing_cert_store=stranger.store)
    assert problem.startswith("CELERIAC_SIGNING_CERT_STORE: the own certificate is not in it")


def test_an_app_is_not_made_with_files_that_do_not_fit(ours: Signer, stranger: Signer) -> None:
    with pytest.raises(SettingsError, match="the own certificate is not in it"):
        signing.set_up(Celery(set_as_current=False), settings(ours, signing_cert_store=stranger.store))


def test_nothing_is_asked_where_nothing_is_signed() -> None:
    assert signing.configuration(Settings()) == {}
    signing.set_up(Celery(set_as_current=False), Settings())


def test_a_library_that_is_missing_is_said(ours: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("celery.security")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    (problem,) = problems(ours)
    assert problem.endswith("pip install 'celeriac[auth]'")
