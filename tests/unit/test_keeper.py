"""The keeper's rounds: what takes long in one does not hold up another."""

from __future__ import annotations

import threading

from celeriac.worker.duties.keeper import Duty, Keeper
from tests.support import wait_until


def test_a_duty_that_takes_long_holds_up_no_other_round() -> None:
    stuck, ended, beats = threading.Event(), threading.Event(), []

    def hang() -> None:
        stuck.set()
        ended.wait(60)

    keeper = Keeper(
        [Duty("heartbeat", lambda: beats.append(stuck.is_set()), 0.01)],
        [Duty("workflows", hang, 0.01)],
        longest_rest=1.0,
    )
    keeper.start()
    wait_until(lambda: beats.count(True) >= 5, within=30, saying="the heart beats on")
    ended.set()
    keeper.stop(within=30)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("keeper-")]


def test_a_poke_reaches_every_round_that_wants_it() -> None:
    done: list[str] = []
    rounds = [
        [Duty(name, lambda name=name: done.append(name), 60.0, on_poke=name != "deaf")]  # type: ignore[misc]
        for name in ("one", "two", "deaf")
    ]
    keeper = Keeper(*rounds, longest_rest=1.0)
    keeper.start()
    wait_until(lambda: sorted(done) == ["deaf", "one", "two"], within=30, saying="each is done once")
    done.clear()
    keeper.poke()
    wait_until(lambda: sorted(done) == ["one", "two"], within=30, saying="those that want it are done again")
    keeper.stop(within=30)


def test_a_poke_by_name_reaches_one_round_alone() -> None:
    done: list[str] = []
    rounds = [
        [Duty(name, lambda name=name: done.append(name), 60.0, on_poke=True)]  # type: ignore[misc]
        for name in ("one", "two")
    ]
    keeper = Keeper(*rounds, longest_rest=1.0)
    keeper.start()
    wait_until(lambda: sorted(done) == ["one", "two"], within=30, saying="each is done once")
    done.clear()
    keeper.poke("two")
    wait_until(lambda: "two" in done, within=30, saying="it is done again")
    keeper.stop(within=30)
    assert done == ["two"]
