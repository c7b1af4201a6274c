"""For how long a broker that failed is left alone."""

from __future__ import annotations

import pytest

from celeriac.broker_state import BrokerState


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (9, 10)])
def test_callers_leave_it_alone_for_longer_each_time(failures: int, seconds: float) -> None:
    clock = Clock()
    state = BrokerState(clock)
    for _ in range(failures):
        state.failed()
    clock.now += seconds - 0.1
    assert state.resting
    clock.now += 0.1
    assert not state.resting


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (5, 2)])
def test_duties_try_it_every_two_seconds(failures: int, seconds: float) -> None:
    clock = Clock()
    state = BrokerState(clock)
    for _ in range(failures):
        state.failed()
    clock.now += seconds - 0.1
    assert state.resting_for_duties
    clock.now += 0.1
    assert not state.resting_for_duties


def test_a_success_ends_the_rest() -> None:
    state = BrokerState(Clock())
    for _ in range(3):
        state.failed()
    state.worked()
    assert not state.resting
    assert not state.resting_for_duties
    state.failed()
    state.worked()
    state.failed()
    assert state.resting, "and the next one begins anew"
