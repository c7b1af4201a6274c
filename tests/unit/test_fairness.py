"""Whose turn it is in a fair queue, and how much of it may be on its way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from celeriac.errors import BadArgument
from celeriac.limits.fairness import Fairness, Windows
from celeriac.limits.limit import Limit

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("by", [["a", "b"], ["imports="], ["=customer"]])
def test_what_can_mean_nothing_is_refused(by: list[str]) -> None:
    with pytest.raises(BadArgument, match="wanted"):
        Fairness.parse(by, ())


@pytest.mark.parametrize("weight", ["acme", "acme=x", "acme=0", "acme=nan", "=2", "acme=1e9"])
def test_a_weight_that_can_mean_nothing_is_refused(weight: str) -> None:
    with pytest.raises(BadArgument, match="name=weight"):
        Fairness.parse((), [weight])


def test_a_lane_may_have_a_key_of_its_own() -> None:
    found = Fairness.parse(["user_id", "imports=customer"], ())
    assert found.key_of("normal", "default") == "user_id"
    assert found.key_of("imports.low", "imports") == "customer"
    assert Fairness.parse(["imports=customer"], ()).key_of("normal", "default") is None


@pytest.mark.parametrize("name", ["fair/x", "ordered/x"])
def test_a_limit_cannot_pass_for_one_of_ours(name: str) -> None:
    with pytest.raises(BadArgument, match="must not begin"):
        Limit(name, concurrency=1)


def look(windows: Windows, used: int, after: float) -> int:
    now = NOON + timedelta(seconds=after)
    windows.note("normal", used=used, now=now)
    size = windows.size("normal")
    if used <= size:
        windows.is_full("normal", now=now)
    return size


def test_more_is_on_its_way_while_jobs_are_short() -> None:
    windows = Windows(children={"normal": 4})
    assert [look(windows, used, number / 10) for number, used in enumerate((0, 4, 4, 4))] == [8, 12, 20, 36]
    assert look(windows, 36, 0.5) < 36, "and less when they are not claimed so fast"
    for number in range(20):
        size = look(windows, 30, 1 + number)
    assert size == 8


def test_no_more_is_on_its_way_while_jobs_are_long() -> None:
    windows = Windows(children={"normal": 4})
    assert [look(windows, 4, number) for number in range(5)] == [8] * 5
