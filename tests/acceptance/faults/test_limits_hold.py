"""Limits while workers, the database and whole fleets fail: never above them, and nothing waits for ever."""

from __future__ import annotations

import time
from functools import partial

import pytest

from celeriac import enqueue_many
from tests.acceptance.faults.drill import Drill
from tests.paced_starts import most_within, starts
from tests.support import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(560)]


def test_a_rate_is_exact_over_four_workers_one_of_which_freezes(drill: Drill) -> None:
    """A hundred a second for a minute: never above, and hardly below."""
    app = drill.house.app
    task = app.tasks["tests.hundred_a_second"]
    victim, *_ = drill.house.man(4)
    enqueue_many(task, [()] * 8000)
    begun = partial(starts, drill.house.database, task.name)
    wait_until(lambda: bool(begun()), within=60, saying="they run")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 20, within=60, saying="a third of it")
    victim.freeze()
    wait_until(lambda: time.monotonic() - began > 23, within=60, saying="it is frozen for a while")
    victim.thaw()
    wait_until(lambda: time.monotonic() - began > 62, within=90, saying="a minute")
    moments = begun()
    assert most_within(moments, 60) <= 6000 + 10, "the rate, and its burst"
    assert most_within(moments, 1) <= 100 + 10, "also when it thaws"
    assert sum(at < moments[0] + 60 for at in moments) >= 5900
