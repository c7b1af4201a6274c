"""Limits as they are declared, what a call takes of them, when a rate allows a start, who is admitted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import BadArgument
from celeriac.limits.admission import Candidate, Room, decide
from celeriac.limits.limit import Limit, declared, together
from celeriac.limits.permits import Permit, line_of, permits_of, read, written
from celeriac.limits.rate import Rate
from celeriac.limits.resting import RateLimited, Snooze

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class A:
    """A task, as far as its limits go."""

    def __init__(self, *limits: Limit) -> None:
        self._limits = limits

    def run(self, tenant: int, size: int = 1, **more: Any) -> None: ...

    _called = property(lambda self: self.run)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "neither"),
        ({"concurrency": 0}, "from 1 on"),
        ({"concurrency": True}, "from 1 on"),
        ({"concurrency": 2.5}, "from 1 on"),
        ({"rate": "fast"}, "wanted something as"),
        ({"rate": "0/s"}, "wanted something as"),
        ({"rate": "1/w"}, "wanted something as"),
        ({"concurrency": 1, "burst": 3}, "has none"),
        ({"concurrency": 2, "weight": 3}, "never fits"),
        ({"concurrency": 2, "key": 7}, "wanted an argument's name"),
        ({"concurrency": 2, "key": False}, "wanted an argument's name"),
    ],
)
def test_a_limit_that_can_mean_nothing_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        Limit("x", **values)


def test_a_name_must_not_pass_for_a_key() -> None:
    with pytest.raises(BadArgument, match="colon"):
        Limit("a:b", 1)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("stripe", "wanted a Limit"),
        ([Limit("a", 1), "b"], "wanted a Limit"),
        ([Limit("a", 1), Limit("a", 1)], "same name"),
        ([Limit(name, 1) for name in "abcd"], "at most 3"),
    ],
)
def test_what_is_no_list_of_limits_is_refused(said: object, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        declared(said)


def test_tasks_that_share_a_limit_must_agree_but_for_key_and_weight() -> None:
    agree = [("one", [Limit("x", 4)]), ("two", [Limit("x", 4, key="tenant", weight=2)])]
    assert together(agree)[1] == []
    found, problems = together([*agree, ("three", [Limit("x", rate="1/s")])])
    assert found["x"].concurrency == 4
    assert problems == ["limit 'x': the task 'one' says concurrency 4, 'three' says rate 1/s"]


@pytest.mark.parametrize(
    ("key", "args", "kwargs", "given", "name"),
    [
        (None, (7,), {}, None, "x:"),
        ("tenant", (7,), {}, None, "x:7"),
        ("tenant", (), {"tenant": "a:b"}, None, "x:a:b"),
        ("size", (7,), {}, None, "x:1"),
        ("region", (7,), {"region": "eu"}, None, "x:eu"),
        ("tenant", (None,), {}, None, "x:"),
        (lambda tenant, **_: tenant % 2, (7,), {}, None, "x:1"),
        (True, (7,), {}, "eu", "x:eu"),
        ("tenant", (7,), {}, {"x": 8}, "x:8"),
    ],
)
def test_a_key_is_of_the_call(key: Any, args: Any, kwargs: Any, given: Any, name: str) -> None:
    (permit,) = permits_of(A(Limit("x", 2, key=key, weight=2)), args, kwargs, given=given)
    assert permit == Permit(name, 2)


@pytest.mark.parametrize(
    ("limit", "args", "given", "words"),
    [
        (Limit("x", 1, key="nobody"), (7,), None, "no argument 'nobody'"),
        (Limit("x", 1, key=True), (7,), None, "each call must say"),
        (Limit("x", 1), (7,), "eu", "no limit with a key"),
        (Limit("x", 1, key="tenant"), (7,), {"y": 1}, "no limit 'y'"),
        (Limit("x", 1, key="tenant"), ([7],), None, "text or a number"),
        (Limit("x", 1, key="tenant"), ("\x00",), None, "cannot be stored"),
        (Limit("x", 1, key="tenant"), ("k" * 300,), None, "at most 255"),
    ],
)
def test_a_key_that_is_none_is_refused_by_name(limit: Limit, args: Any, given: Any, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        permits_of(A(limit), args, {}, given=given)


def test_a_retry_keeps_the_key_that_only_the_call_has_said() -> None:
    task = A(Limit("x", 1, key=True))
    first = permits_of(task, (7,), {}, given="eu")
    assert permits_of(task, (7,), {}, before=written(first)) == first


def test_permits_survive_the_way_in_a_message() -> None:
    takes = (Permit("a:1", 2), Permit("b:", 1))
    assert read(written(takes)) == takes
    for forged in (None, {}, [["a"]], [["a", "1"]], [[1, 1]], [["a:", 1]] * 4):
        assert read(forged) == ()
    assert line_of(takes) != line_of(takes[:1])


@given(
    st.integers(1, 50),
    st.integers(1, 5),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 9)), max_size=60),
)
def test_a_rate_is_never_exceeded_in_any_window(count: int, burst: int, steps: list[Any]) -> None:
    """In every window of a second there are at most as many starts as the rate says, and the burst."""
    rate = Rate.parse(f"{count}/s", burst=burst)
    starts: list[datetime] = []
    moment, next_start = NOON, None
    for wait, wanted in steps:
        moment += wait * SECOND
        taken = min(wanted, rate.allowed(next_start, moment))
        if taken:
            next_start = rate.after(next_start, moment, taken)
            starts += [moment] * taken
    for first in starts:
        assert sum(first <= each < first + SECOND for each in starts) <= count + burst


def test_a_rate_says_when_it_opens() -> None:
    rate = Rate(SECOND, burst=2)
    used = rate.after(None, NOON, 2)
    assert rate.allowed(used, NOON) == 0
    assert rate.opens(used, NOON) == NOON + SECOND
    assert rate.allowed(used, NOON + SECOND) == 1


def test_a_clock_that_was_set_back_stops_no_limit_for_longer_than_a_burst() -> None:
    rate = Rate(SECOND, burst=2)
    far = NOON + timedelta(hours=1)
    assert rate.opens(far, NOON) <= NOON + 2 * SECOND


def candidate(number: int, line: int, *, priority: int = 10, weight: int = 1) -> Candidate:
    return Candidate(UUID(int=number), UUID(int=line), priority, (Permit("x:", weight),))


def admitted(lines: list[list[Candidate]], room: Room, *, most: int = 100) -> list[int]:
    found = decide(lines, {"x:": room}, now=NOON, most=most)
    return [job.id.int for job in found.admitted]


def test_the_important_go_first_then_line_by_line() -> None:
    one = [candidate(1, 1, priority=20), candidate(2, 1), candidate(3, 1)]
    two = [candidate(4, 2, priority=30), candidate(5, 2), candidate(6, 2)]
    assert admitted([one, two], Room(concurrency=9)) == [4, 1, 2, 5, 3, 6]
    assert admitted([one, two], Room(concurrency=9, used=6)) == [4, 1, 2]


def test_nothing_passes_the_head_of_its_line() -> None:
    line = [candidate(1, 1, weight=3), candidate(2, 1)]
    assert admitted([line], Room(concurrency=3, used=1)) == []


def test_lighter_jobs_of_other_lines_do_not_pass_a_heavy_one_for_ever() -> None:
    heavy, light = [candidate(1, 1, weight=3)], [candidate(2, 2)]
    assert admitted([heavy, light], Room(concurrency=3, used=1)) == []
    assert admitted([heavy, light], Room(concurrency=3)) == [1]


def test_a_job_that_is_heavier_than_all_of_a_lowered_limit_runs_alone() -> None:
    assert admitted([[candidate(1, 1, weight=5)]], Room(concurrency=2)) == [1]
    assert admitted([[candidate(1, 1, weight=5)]], Room(concurrency=2, used=1)) == []


def test_what_is_shut_admits_nothing() -> None:
    assert admitted([[candidate(1, 1)]], Room(concurrency=2, is_shut=True)) == []


def test_a_line_that_waits_for_a_rate_is_looked_at_when_it_opens() -> None:
    line = [candidate(1, 1), candidate(2, 1)]
    found = decide([line], {"x:": Room(rate=Rate(SECOND, burst=1))}, now=NOON, most=9)
    assert [job.id.int for job in found.admitted] == [1]
    assert NOON < found.later[UUID(int=1)] < NOON + SECOND, "a little before, to hand the time out"


def test_starts_are_planned_evenly_and_not_far_ahead() -> None:
    line = [candidate(number, 1) for number in range(1, 99)]
    found = decide([line], {"x:": Room(rate=Rate.parse("100/s", burst=1))}, now=NOON, most=99)
    starts = [found.starts[job.id] for job in found.admitted]
    assert starts == [NOON + n * SECOND / 100 for n in range(21)]
    assert NOON < found.later[UUID(int=1)] < NOON + SECOND / 5, "the next ones in time"


def test_no_more_is_sent_than_workers_begin() -> None:
    rate = Rate.parse("100/s")
    found = decide([[candidate(1, 1)]], {"x:": Room(rate=rate, on_way=30)}, now=NOON, most=9)
    assert not found.admitted
    assert found.crowded == {"x:"}
    assert NOON < found.later[UUID(int=1)] < NOON + SECOND / 5
    found = decide([[candidate(1, 1)]], {"x:": Room(rate=rate, on_way=29)}, now=NOON, most=9)
    assert [job.id.int for job in found.admitted] == [1]


def test_a_line_that_waits_for_a_permit_is_blocked_on_it() -> None:
    found = decide([[candidate(1, 1)]], {"x:": Room(concurrency=1, used=1)}, now=NOON, most=9)
    assert found.blocked == {UUID(int=1): "x:"}


@pytest.mark.parametrize("wait", ["soon", True, -1, float("inf"), float("nan"), None])
def test_a_wait_that_is_no_time_is_refused(wait: Any) -> None:
    with pytest.raises(BadArgument, match="wanted a time"):
        Snooze(wait).seconds  # noqa: B018


def test_a_wait_is_a_time_or_seconds() -> None:
    assert Snooze(timedelta(minutes=2)).seconds == RateLimited(120).seconds == 120
    assert str(Snooze(5, "the archive is closed")) == "the archive is closed"
