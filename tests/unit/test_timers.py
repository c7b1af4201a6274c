"""Timers that were cancelled, in kombu's own heap."""

from __future__ import annotations

from kombu.asynchronous.timer import Timer

from celeriac.worker.pool.timers import forget_cancelled

HOUR = 3_600


def test_cancelled_timers_are_forgotten_and_the_others_fire_in_their_order() -> None:
    timer, fired = Timer(), []
    loop = iter(timer)
    for number in range(3_000):
        entry = timer.call_after(HOUR, fired.append, (number,))
        if number % 3:
            entry.cancel()
    later = timer.call_after(-1, fired.append, ("later",))
    timer.call_after(-2, fired.append, ("sooner",))
    assert next(loop)[1] is not None  # the hub's iterator has begun; it goes on with the same heap
    forget_cancelled(timer)
    assert len(timer) == 1_001
    assert next(loop)[1] is later
    assert next(loop)[1] is None


def test_a_few_are_left_alone() -> None:
    timer = Timer()
    for _ in range(1_000):
        timer.call_after(HOUR, print).cancel()
    forget_cancelled(timer)
    assert len(timer) == 1_000
