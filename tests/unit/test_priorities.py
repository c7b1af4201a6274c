"""Priorities: name, number, queue and the order in which queues are drawn from."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest

from celeriac.broker.transport import PriorityCycle
from celeriac.errors import BadArgument
from celeriac.priorities import QUEUES, Priority, level_of, parse, priority_of


@pytest.mark.parametrize(
    ("value", "number"),
    [("low", 0), ("normal", 10), ("high", 20), ("critical", 30), ("HIGH", 20), (0, 0), (100, 100), (25, 25)],
)
def test_a_priority_is_a_name_or_a_number(value: object, number: int) -> None:
    assert parse(value) == number
    assert type(parse(value)) is int


def test_a_level_is_a_priority() -> None:
    assert [parse(level) for level in Priority] == [0, 10, 20, 30]


@pytest.mark.parametrize("value", [-1, 101, True, False, 10.0, "10", "urgent", "", None, [], float("nan")])
def test_what_is_no_priority_is_refused(value: object) -> None:
    with pytest.raises(
        BadArgument, match="low, normal, high, critical or an integer from 0 to 100"
    ) as caught:
        parse(value)
    assert caught.value.name == "priority"
    assert repr(value) in str(caught.value)


def test_a_priority_goes_to_the_queue_of_the_level_at_or_below_it() -> None:
    ends = {"low": range(10), "normal": range(10, 20), "high": range(20, 30), "critical": range(30, 101)}
    for level, numbers in ends.items():
        assert {level_of(number) for number in numbers} == {level}


def test_the_queues_stand_by_importance() -> None:
    assert QUEUES == ("critical", "high", "normal", "low")
    assert [level_of(priority_of(queue)) for queue in QUEUES] == list(QUEUES)


def test_a_lane_counts_as_normal_and_a_level_in_it_as_itself() -> None:
    assert (priority_of("reports"), priority_of("reports.high")) == (Priority.NORMAL, Priority.HIGH)


# The order of drawing


def cycle(*queues: str, share: float = 0.0) -> PriorityCycle:
    made = PriorityCycle()
    made.update(queues)
    made.share = share
    return made


def test_the_order_is_by_importance_however_the_queues_were_given() -> None:
    for order in permutations(QUEUES):
        assert cycle(*order).consume(4) == list(QUEUES)


def test_a_queue_of_the_users_own_is_drawn_behind_normal_and_before_low() -> None:
    assert cycle("low", "mine", "high", "normal").consume(4) == ["high", "normal", "mine", "low"]


def test_the_order_is_strict_without_a_share() -> None:
    drawn = cycle(*QUEUES)
    for _ in range(100):
        assert drawn.consume(4) == list(QUEUES)
        drawn.rotate("critical")  # kombu's own round robin would move it to the end


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_lowest_queue_is_first_for_its_share_of_the_draws(share: float) -> None:
    drawn = cycle(*QUEUES, share=share)
    firsts = [drawn.consume(4)[0] for _ in range(1000)]
    assert set(firsts) == {"critical", "low"}
    assert abs(firsts.count("low") - 1000 * share) <= 1


def test_the_share_is_spread_evenly() -> None:
    drawn = cycle(*QUEUES, share=0.25)
    firsts = [drawn.consume(4)[0] for _ in range(100)]
    lows = [place for place, queue in enumerate(firsts) if queue == "low"]
    assert {later - earlier for earlier, later in pairwise(lows)} == {4}


def test_a_draw_for_the_lowest_still_takes_from_the_others() -> None:
    drawn = cycle(*QUEUES, share=0.5)
    assert [drawn.consume(4) for _ in range(2)][1] == ["low", "normal", "high", "critical"]


def test_queues_that_come_and_go_keep_the_order() -> None:
    drawn = cycle("low")
    drawn.update(["low", "critical"])
    assert drawn.consume(2) == ["critical", "low"]
    drawn.update([])
    assert drawn.consume(0) == []
