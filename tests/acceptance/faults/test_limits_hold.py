"""Limits while workers, the database and whole fleets fail: never above them, and nothing waits for ever."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from celeriac import enqueue_many
from tests.acceptance.faults.drill import Drill
from tests.acceptance.faults.house import until_reachable
from tests.paced_starts import most_within, starts
from tests.support import wait_until
from tests.witness import START

_WARM = 300  # jobs

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(560)]


def test_a_rate_is_exact_over_four_workers_one_of_which_freezes(drill: Drill) -> None:
    """A hundred a second for a minute: never above, and the others go on.

    How many there are in all is measured by ``make bench ARGS="--only limits"``: a busy machine has fewer.
    """
    app = drill.house.app
    task = app.tasks["tests.hundred_a_second"]
    victim, *_ = drill.house.man(4)
    begun = partial(starts, drill.house.database, task.name)
    enqueue_many(task, [()] * _WARM)
    wait_until(lambda: len(begun()) == _WARM, within=90, saying="all of them have run some")
    enqueue_many(task, [()] * 8000)
    wait_until(lambda: len(begun()) > _WARM, within=60, saying="they run")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 20, within=60, saying="a third of it")
    frozen = begun()[-1]
    victim.freeze()
    wait_until(lambda: time.monotonic() - began > 23, within=60, saying="it is frozen for a while")
    victim.thaw()
    wait_until(lambda: time.monotonic() - began > 62, within=90, saying="a minute")
    moments = begun()
    assert most_within(moments, 60) <= 6000 + 10, "the rate, and its burst"
    assert most_within(moments, 1) <= 100 + 10, "also when it thaws"
    before, meanwhile = (sum(at < moment <= at + 3 for moment in moments) for at in (frozen - 3, frozen))
    assert meanwhile > before / 2, "the others take its starts"


def test_a_worker_is_killed_with_its_permits(drill: Drill) -> None:
    victim, _ = drill.house.man(2)
    _send(drill, 40)
    dead = victim.children()
    drill.begun(1, pids=dead)
    drill.hit(victim)
    victim.kill()
    drill.over()
    drill.ends(recovery=60)
    assert _at_once(drill, dead=dead) == 2, "it is used in full, and not exceeded"


def test_the_database_is_killed_while_jobs_are_admitted(drill: Drill) -> None:
    drill.house.man(2)
    _send(drill, 120)
    for count in (10, 30, 50):
        drill.flows(count)
        drill.house.postgres.kill()
        drill.house.postgres.restart()
        until_reachable(drill.house.database)
    drill.over()
    drill.ends(recovery=60)
    assert _at_once(drill) == 2
    assert {row.tries for row in drill.rows().values()} == {1}


def test_one_of_two_fleets_on_one_limit_dies(drill: Drill) -> None:
    """What is on its way to it gives its permits back, and the other fleet goes on."""
    (one,) = drill.house.man(1, options=("-Q", "low"))
    _, other = drill.house.man(2, options=("-Q", "normal"))
    low = _send(drill, 20, 0.3, priority="low")
    normal = _send(drill, 20, 0.3)
    dead = one.children()
    drill.begun(1, pids=dead)
    drill.hit(one)
    one.kill()
    ends = drill.witness.ends
    wait_until(lambda: all(ends()[id] for id in normal), within=90, saying="the other fleet goes on")
    assert not all(ends()[id] for id in low), "nobody has run what is of the dead one"
    drill.house.hire(options=("-Q", "low")).ready(within=60)
    drill.over()
    drill.ends(recovery=60)
    assert other.running
    assert _at_once(drill, dead=dead) == 2


def _send(drill: Drill, count: int, seconds: float = 0.1, **options: Any) -> list[str]:
    """Jobs of a limit of two."""
    task, known = drill.house.app.tasks["tests.two_at_once"], len(drill.producer.accepted)
    for _ in range(count):
        drill.producer.call(lambda: task.apply_async((str(drill.witness.path), seconds), **options))
    return drill.producer.accepted[known:]


def _at_once(drill: Drill, *, dead: Sequence[int] = ()) -> int:
    """How many ran at the same time, at most; of processes that were not killed."""
    marks = [mark for mark in drill.witness.marks() if mark.pid not in dead]
    running = most = 0
    for mark in sorted(marks, key=lambda mark: (mark.at, mark.event == START)):
        running += 1 if mark.event == START else -1
        most = max(most, running)
    return most
