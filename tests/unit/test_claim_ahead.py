"""How many jobs a worker claims ahead of its free children."""

from __future__ import annotations

import pytest

from celeriac.worker.gate.claim_ahead import ClaimAhead


def after(*seconds: float, times: int = 200) -> ClaimAhead:
    ahead = ClaimAhead()
    for _ in range(times):
        for one in seconds:
            ahead.record_duration(one)
    return ahead


def test_long_jobs_are_claimed_when_a_child_is_free() -> None:
    assert after(30.0).claimable(0, children=2) == 2
    assert after(30.0).claimable(1, children=2) == 1
    assert after(30.0).claimable(2, children=2) == 0


def test_nothing_is_claimed_ahead_before_it_is_known_how_long_jobs_take() -> None:
    assert ClaimAhead().claimable(0, children=2) == 2
    assert after(0.001, times=20).claimable(0, children=2) > 2


def test_a_few_short_jobs_are_enough_to_know() -> None:
    assert after(0.001, times=8).claimable(0, children=2) > 20
    together = ClaimAhead()
    together.record_duration(0.001, jobs=8)
    assert together.claimable(0, children=2) == after(0.001, times=8).claimable(0, children=2)


def test_one_short_job_after_the_first_does_not_hide_that_jobs_are_long() -> None:
    ahead = after(30.0)
    ahead.record_duration(0.001)
    assert ahead.claimable(0, children=2) == 2


def test_short_jobs_are_claimed_ahead_by_the_time_of_a_turn() -> None:
    assert after(0.005).claimable(0, children=2) == 22


def test_what_is_too_short_to_be_measured_is_bounded() -> None:
    assert after(0.0).claimable(0, children=2) == 202
    assert after(-1.0).claimable(0, children=2) == 202  # a clock that was set back


def test_it_is_never_negative() -> None:
    assert after(30.0).claimable(500, children=2) == 0


def test_a_pool_that_does_not_queue_is_given_what_it_can_run() -> None:
    assert after(0.0).claimable(0, children=100, queues=False) == 100
    assert after(0.0).claimable(99, children=100, queues=False) == 1


def test_as_many_messages_are_held_as_there_are_children_while_jobs_are_long() -> None:
    assert after(30.0).prefetch(children=2) == 2
    assert ClaimAhead().prefetch(children=8) == 8
    assert after(0.001).prefetch(children=100, queues=False) == 100


def test_more_messages_are_held_while_jobs_are_short_up_to_a_bound() -> None:
    assert after(0.005).prefetch(children=2) == 42
    assert after(0.0).prefetch(children=64) == 64 + 1_000


def test_messages_are_asked_for_in_portions_while_jobs_are_short() -> None:
    assert after(0.005).refill_threshold(children=2) == 10  # a quarter of the 40 held ahead
    assert after(30.0).refill_threshold(children=8) == 1  # a free child's at once
    assert after(0.001).refill_threshold(children=100, queues=False) == 1


def test_a_turn_waits_only_while_every_child_has_another_job_to_go_on_with() -> None:
    ahead = after(0.005)
    assert ahead.pause(0, children=2) == ahead.pause(2, children=2) == 0.0
    assert ahead.pause(4, children=2) == pytest.approx(0.0025, rel=0.01)  # of the 5 ms that two more take
    assert ahead.pause(22, children=2) == 0.01
    assert after(0.0).pause(3, children=2) == 0.001
