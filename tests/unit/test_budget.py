"""What shared values may cost together: who wants little has it, the others have the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from celeriac.console.budget import Budget, fair_share


@dataclass(eq=False)
class Value:
    every: float
    cost: float
    in_use: bool = True


def budget(*values: Value, together: float) -> Budget:
    made = Budget(together)
    for each in values:
        made.join(each)
    return made


def test_values_that_cost_little_are_read_as_often_as_they_want() -> None:
    one, other = Value(2.0, 0.002), Value(20.0, 0.1)
    made = budget(one, other, together=0.03)
    assert (made.pause(one), made.pause(other)) == (2.0, 20.0)


def test_values_that_cost_much_share_what_the_others_leave() -> None:
    cheap, dear, dearest = Value(2.0, 0.02), Value(2.0, 0.5), Value(2.0, 1.0)
    made = budget(cheap, dear, dearest, together=0.03)
    assert made.pause(cheap) == 2.0
    assert made.pause(dear) == pytest.approx(50.0)
    assert made.pause(dearest) == pytest.approx(100.0)
    spent = sum(each.cost / made.pause(each) for each in (cheap, dear, dearest))
    assert spent == pytest.approx(0.03)


def test_a_value_that_nobody_asks_for_leaves_its_part_to_the_others() -> None:
    dear, left = Value(2.0, 0.3), Value(2.0, 0.3)
    made = budget(dear, left, together=0.03)
    assert made.pause(dear) == pytest.approx(20.0)
    left.in_use = False
    assert made.pause(dear) == pytest.approx(10.0)
    assert made.pause(left) == pytest.approx(20.0), "it counts itself"


def test_a_value_that_is_gone_leaves_its_part_too() -> None:
    dear = Value(2.0, 0.3)
    made = budget(dear, Value(2.0, 0.3), together=0.03)  # the other is kept by nobody
    assert made.pause(dear) == pytest.approx(10.0)


def test_of_nothing_there_is_no_end() -> None:
    assert fair_share([], 0.03) == float("inf")
