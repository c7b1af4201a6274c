"""Webhooks: signed HTTP POSTs to another system, retried until it accepts or refuses them.

What a receiver gets, with names and signature as in Standard Webhooks (standardwebhooks.com)::

    POST /path
    content-type: application/json
    webhook-id: 0193c0de-…          the job's id, the same in every attempt: ignore one that you have seen
    webhook-timestamp: 1735689600   when this attempt was signed, in seconds since 1970
    webhook-attempt: 1
    webhook-signature: v1,K5oZfz…=

    {"event":"paid"}

The signature is base64(HMAC-SHA256(secret, id + "." + timestamp + "." + body)). To verify one, compute it
over the body's bytes as they came, compare it in constant time with each of the header's space-separated
values, and refuse a timestamp that is more than five minutes away::

    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    genuine = any(hmac.compare_digest(wanted, found) for found in headers["webhook-signature"].split())

A job is kept in a row and shown to people, so it must not hold the secret. It names an environment
variable of the worker, which holds the secret. A value of ``whsec_`` and base64, the format of Standard
Webhooks, is decoded; any other value is the secret itself, in UTF-8.

Whoever may enqueue this task chooses what the worker connects to.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

from celery import shared_task

from tasks.delivery import TIMEOUT, BadDelivery, Delivery
from tasks.exchange import NO_ANSWER, Answer, post, reason

LEAST_WAIT, LONGEST_WAIT = 1.0, 3600.0  # seconds that a Retry-After is held to


class Refused(Exception):
    """The receiver refused it for good."""

    def __init__(self, host: str, status: int, answer: str) -> None:
        super().__init__(host, status, answer)

    def __str__(self) -> str:
        host, status, answer = self.args
        return f"{host} refused it with {status}{_after_colon(answer)}"


class NotTaken(Exception):
    """The receiver does not accept it now."""

    def __init__(self, host: str, status: int, answer: str) -> None:
        super().__init__(host, status, answer)

    def __str__(self) -> str:
        host, status, answer = self.args
        return f"{host} did not take it, with {status}{_after_colon(answer)}"


class Unreachable(Exception):
    """There was no HTTP answer. The receiver may have got the request all the same."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(host, reason)

    def __str__(self) -> str:
        return f"{self.args[0]} gave no answer: {self.args[1]}"


@shared_task(name="webhooks.deliver", bind=True, dont_autoretry_for=(BadDelivery, Refused))
def deliver(
    self: Any,
    url: str,
    payload: Any,
    secret_env: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> dict[str, Any]:
    """POST ``payload`` as JSON to ``url``; return ``{"status": …, "answer": …}`` once it was taken (2xx).

    No answer, 429 and 5xx are retried: after Retry-After if it is given, else after the job's backoff. Every
    other answer is final; redirects are not followed. A receiver that accepted it but whose answer was lost
    gets it again, with the same ``webhook-id``.

    Args:
        url: http or https; credentials belong into ``headers``, not in here.
        payload: what JSON can hold; dates, UUIDs and decimals are sent as text.
        secret_env: the environment variable, ``WEBHOOK_…``, that holds the secret; None: it is not signed.
        headers: to send beside our own. They are kept in the job's row.
        timeout: seconds that one attempt may take, from connecting to the end of the answer.

    Raises:
        BadDelivery: an argument is not valid; not retried.
        Refused: not retried.
        NotTaken, Unreachable, SecretMissing: the last try failed with it.
    """
    delivery = Delivery.of(url, payload, secret_env=secret_env, headers=headers, timeout=timeout)
    signed = delivery.signed(self.request.id or str(uuid4()), attempt=self.attempt, at=int(time.time()))
    try:
        answer = post(delivery.url, delivery.body, headers=signed, timeout=delivery.timeout)
    except NO_ANSWER as exc:
        raise self.retry(exc=Unreachable(delivery.host, reason(exc))) from None
    verdict = judge(answer, now=datetime.now(UTC))
    if verdict.taken:
        return {"status": answer.status, "answer": answer.excerpt}
    if verdict.final:
        raise Refused(delivery.host, answer.status, answer.excerpt)
    error = NotTaken(delivery.host, answer.status, answer.excerpt)
    raise self.retry(exc=error, countdown=_with_jitter(verdict.wait))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What follows from an answer: taken, final, or again after ``wait`` seconds (None: by the backoff)."""

    taken: bool = False
    final: bool = False
    wait: float | None = None


def judge(answer: Answer, *, now: datetime) -> Verdict:
    """What follows from ``answer``.

    >>> judge(Answer(status=410), now=datetime.now(UTC))
    Verdict(taken=False, final=True, wait=None)
    """
    if 200 <= answer.status < 300:
        return Verdict(taken=True)
    if 300 <= answer.status < 500 and answer.status != 429:
        return Verdict(final=True)
    return Verdict(wait=seconds_of(answer.retry_after, now=now))


def seconds_of(retry_after: str | None, *, now: datetime) -> float | None:
    """Seconds that a Retry-After asks for (RFC 9110, section 10.2.3), held to an hour; None: it says nothing.

    >>> seconds_of("120", now=datetime.now(UTC)), seconds_of("soon", now=datetime.now(UTC))
    (120.0, None)
    """
    text = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]{1,18}", text):
        wanted = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (TypeError, ValueError, OverflowError):
            return None
        # An obsolete form of an HTTP date names no zone; all of them are UTC.
        wanted = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return min(max(wanted, LEAST_WAIT), LONGEST_WAIT)


def _with_jitter(wait: float | None) -> float | None:
    """``wait`` plus up to 10 %, so that rejected senders do not all return at the same moment."""
    return None if wait is None else wait * (1 + random.uniform(0, 0.1))


def _after_colon(text: str) -> str:
    return f": {text}" if text else ""
