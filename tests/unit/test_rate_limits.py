"""Rate limits: which job waits in Celery's token bucket, and when another one is let through."""

from __future__ import annotations

import pytest
from kombu.utils.limits import TokenBucket

from celeriac.worker.pool.rate_limits import Rates

NOW = 1_000.0
TASK = "mail.send"


def bucket(rate: float, *, holds: int = 0, free: bool = False) -> TokenBucket:
    """A bucket that fills with ``rate`` tokens a second; ``free``: with one token in it."""
    made = TokenBucket(rate)
    if not free:
        assert made.can_consume()
    for number in range(holds):
        made.add((number, 1))
    return made


def test_who_may_begin_is_not_given_back() -> None:
    assert Rates().wait(TASK, bucket(1 / 60, free=True), now=NOW) == 0


def test_who_begins_soon_waits_in_the_bucket() -> None:
    assert Rates().wait(TASK, bucket(1), now=NOW) == 0
    assert Rates().wait(TASK, bucket(1, holds=4), now=NOW) == 0
    assert Rates().wait(TASK, bucket(1, holds=6), now=NOW) > 0


def test_the_others_come_back_shortly_before_their_turn_one_after_the_other() -> None:
    rates, limit = Rates(), bucket(0.1)
    waits = [rates.wait(TASK, limit, now=NOW) for _ in range(4)]
    assert waits == pytest.approx([7.5, 17.5, 27.5, 37.5], abs=0.1)
    assert rates.wait("mail.recall", limit, now=NOW) == pytest.approx(7.5, abs=0.1)  # a line of its own


def test_nobody_is_given_back_for_long() -> None:
    rates, limit = Rates(), bucket(1 / 3600)
    assert [rates.wait(TASK, limit, now=NOW) for _ in range(3)] == [117.5] * 3


def test_a_line_that_was_forgotten_begins_anew() -> None:
    rates, limit = Rates(), bucket(0.1)
    for _ in range(5):
        rates.wait(TASK, limit, now=NOW)
    assert rates.wait(TASK, limit, now=NOW + 3_600) == pytest.approx(7.5, abs=0.1)


def test_a_bucket_holds_a_bounded_number() -> None:
    assert Rates().wait(TASK, bucket(1e6, holds=499), now=NOW) == 0
    assert Rates().wait(TASK, bucket(1e6, holds=500), now=NOW) == 0.1
