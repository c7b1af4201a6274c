"""Webhooks before and after the network: what is refused, how it is signed, what follows from an answer."""

from __future__ import annotations

import base64
import doctest
import hashlib
import hmac
import json
import pickle
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from email.utils import format_datetime
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

import tasks.exchange
import tasks.webhooks
from tasks.delivery import LONGEST_TIMEOUT, BadDelivery, Delivery, SecretMissing, signature
from tasks.exchange import EXCERPT, Answer, _excerpt, reason
from tasks.webhooks import (
    LEAST_WAIT,
    LONGEST_WAIT,
    NotTaken,
    Refused,
    Unreachable,
    Verdict,
    judge,
    seconds_of,
)

URL = "https://hooks.example.org/in?key=open-sesame"
NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "/path",
        "hooks.example.org/in",
        "ftp://hooks.example.org/",
        "file:///etc/hosts",
        "http://",
        "http:///path",
        "http://host:0/",
        "http://host:70000/",
        "http://host:port/",
        "http://[::1/",
        "http://a..b/",
        f"http://{'a' * 64}.org/",
        "http://ho st/",
        "http://host/\r\nx-injected: 1",
        "http://host/ü",
        "http://user:secret@host/",
        "http://user@host/",
    ],
)
def test_a_url_that_cannot_be_posted_to_is_refused(url: Any) -> None:
    with pytest.raises(BadDelivery, match=r"^url: ") as refusal:
        Delivery.of(url, {})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["http://host", "https://host:8443/a/b?c=d", "http://[::1]:80/", "http://1.2.3.4/"]
)
def test_a_url_of_http_is_taken(url: str) -> None:
    assert Delivery.of(url, {}).url.geturl() == url


def test_a_delivery_shows_no_path_and_no_query() -> None:
    assert Delivery.of(URL, {}).host == "https://hooks.example.org"


@pytest.mark.parametrize(
    "payload", [object(), {1, 2}, b"bytes", float("nan"), [float("inf")], "\ud800", {"deep": {(1, 2): 3}}]
)
def test_a_payload_that_is_no_json_is_refused(payload: Any) -> None:
    with pytest.raises(BadDelivery, match=r"^payload: "):
        Delivery.of(URL, payload)


def test_what_the_ledger_brings_back_is_sent_as_text() -> None:
    payload = {
        "day": date(2025, 1, 2),
        "at": NOW,
        "time": time(1, 2),
        "sum": Decimal("1.10"),
        "id": UUID(int=1),
        "ü": None,
    }
    body = Delivery.of(URL, payload).body
    assert "ü".encode() in body
    assert json.loads(body) == {
        "day": "2025-01-02",
        "at": "2025-01-01T12:00:00+00:00",
        "time": "01:02:00",
        "sum": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "ü": None,
    }


@pytest.mark.parametrize(
    "timeout", [0, -1, float("nan"), float("inf"), LONGEST_TIMEOUT + 1, True, "10", None]
)
def test_a_timeout_out_of_bounds_is_refused(timeout: Any) -> None:
    with pytest.raises(BadDelivery, match=r"^timeout: "):
        Delivery.of(URL, {}, timeout=timeout)


@pytest.mark.parametrize(
    "headers",
    [
        [("x-one", "1")],
        {"": "1"},
        {"x one": "1"},
        {"x-one\r\nx-two": "1"},
        {"x-one": "1\r\nx-two: 2"},
        {"x-one": 1},
        {"x-one": "\u20ac"},
        {"Content-Type": "text/plain"},
        {"Content-Length": "1"},
        {"Host": "elsewhere"},
        {"Transfer-Encoding": "chunked"},
        {"Webhook-Signature": "v1,forged"},
    ],
)
def test_a_header_that_cannot_be_set_is_refused(headers: Any) -> None:
    with pytest.raises(BadDelivery, match=r"^headers: "):
        Delivery.of(URL, {}, headers=headers)


def test_the_value_of_a_refused_header_is_not_shown() -> None:
    with pytest.raises(BadDelivery) as refusal:
        Delivery.of(URL, {}, headers={"Authorization": "Bearer hunter2\n"})
    assert "hunter2" not in str(refusal.value)


def test_a_header_of_the_callers_is_sent_beside_ours() -> None:
    delivery = Delivery.of(URL, {}, headers={"Authorization": "Bearer hunter2", "User-Agent": "shop"})
    sent = delivery.signed("some-id", attempt=2, at=1735689600)
    assert sent == {
        "authorization": "Bearer hunter2",
        "user-agent": "shop",
        "connection": "close",
        "content-type": "application/json",
        "webhook-id": "some-id",
        "webhook-timestamp": "1735689600",
        "webhook-attempt": "2",
    }


@pytest.mark.parametrize("name", ["hunter2", "PATH", "webhook_secret", "WEBHOOK_", "WEBHOOK_A=B", 7])
def test_a_secret_in_place_of_its_name_is_refused_and_not_shown(name: Any) -> None:
    with pytest.raises(BadDelivery, match=r"^secret_env: ") as refusal:
        Delivery.of(URL, {}, secret_env=name)
    assert refusal.value.args[1].endswith("an environment variable that begins with WEBHOOK_")


@pytest.mark.parametrize("value", [None, "", "whsec_", "whsec_not base64"])
def test_a_secret_that_the_worker_lacks_is_named(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBHOOK_SECRET_SHOP", raising=False)
    if value is not None:
        monkeypatch.setenv("WEBHOOK_SECRET_SHOP", value)
    delivery = Delivery.of(URL, {}, secret_env="WEBHOOK_SECRET_SHOP")
    with pytest.raises(SecretMissing, match="WEBHOOK_SECRET_SHOP") as missing:
        delivery.signed("some-id", attempt=1, at=0)
    assert "whsec" not in str(missing.value)


def test_the_signature_is_the_standards_own_example() -> None:
    """The vector that the reference libraries of Standard Webhooks are tested with."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("value", "key"),
    [("hunter2", b"hunter2"), ("whsec_" + base64.b64encode(b"raw\x00key").decode(), b"raw\x00key")],
)
def test_a_signature_is_made_with_the_key_of_the_environment(
    value: str, key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET_SHOP", value)
    delivery = Delivery.of(URL, {"event": "paid"}, secret_env="WEBHOOK_SECRET_SHOP")
    sent = delivery.signed("some-id", attempt=1, at=1735689600)
    code = hmac.new(key, b'some-id.1735689600.{"event":"paid"}', hashlib.sha256).digest()
    assert sent["webhook-signature"] == "v1," + base64.b64encode(code).decode()


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_an_answer_of_success_is_taken(status: int) -> None:
    assert judge(Answer(status=status), now=NOW) == Verdict(taken=True)


@pytest.mark.parametrize("status", [300, 301, 302, 308, 400, 401, 404, 408, 410, 422, 428, 430, 499])
def test_a_redirect_or_a_refusal_is_final(status: int) -> None:
    assert judge(Answer(status=status, retry_after="1"), now=NOW) == Verdict(final=True)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599, 999, 103])
def test_an_answer_of_trouble_is_tried_again(status: int) -> None:
    assert judge(Answer(status=status), now=NOW) == Verdict(wait=None)
    assert judge(Answer(status=status, retry_after="30"), now=NOW) == Verdict(wait=30)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("0", LEAST_WAIT),
        ("86400", LONGEST_WAIT),
        ("9" * 18, LONGEST_WAIT),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), LEAST_WAIT),
        (format_datetime(NOW + timedelta(days=1), usegmt=True), LONGEST_WAIT),
        ("Wednesday, 01-Jan-25 12:01:00 GMT", 60),  # the two obsolete forms
        ("Wed Jan  1 12:01:00 2025", 60),
        ("Wed, 01 Jan 2025 13:01:00 +0100", 60),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 5000, None),
        ("Wed, 99 Jan 2025 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(retry_after: str | None, seconds: float | None) -> None:
    assert seconds_of(retry_after, now=NOW) == seconds


@pytest.mark.parametrize(
    ("body", "kind", "kept"),
    [
        (b'{"error":\n  "no such order"}', "application/json", '{"error": "no such order"}'),
        (b"\x1b[31mred\x00", "text/plain", "[31mred"),
        (b"\xff\xfe", "text/plain", "\ufffd\ufffd"),
        (b"x" * 10_000, "text/html", "x" * EXCERPT),
        (b"\x89PNG", "image/png", ""),
        (b"{}", "application/problem+json", "{}"),
    ],
)
def test_of_an_answer_a_line_of_text_is_kept(body: bytes, kind: str, kept: str) -> None:
    assert _excerpt(body, kind) == kept


@pytest.mark.parametrize(
    "error",
    [
        BadDelivery("url", "wanted another"),
        SecretMissing("WEBHOOK_SECRET_SHOP"),
        Refused("https://host", 410, "gone"),
        NotTaken("https://host", 503, ""),
        Unreachable("https://host", "timed out"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_from_the_pool(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))


def test_a_lost_answer_has_a_reason_without_an_address() -> None:
    assert reason(TimeoutError("timed out")) == "timed out"
    assert reason(OSError("no number, http://host/path")) == "OSError"


@pytest.mark.parametrize("module", [tasks.exchange, tasks.webhooks], ids=lambda module: module.__name__)
def test_the_examples_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)
