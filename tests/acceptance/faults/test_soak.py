"""Five minutes of random deaths, with mixed work."""

from __future__ import annotations

import random
import time

import pytest

from tests.acceptance.faults.drill import Drill
from tests.support import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

LASTING = 300.0  # seconds


def test_random_deaths(drill: Drill) -> None:
    chance = random.Random(20260401)
    drill.house.man(3)
    drill.allow_all_again()
    end = time.monotonic() + LASTING
    with drill.load(rate=15, lasting=3):
        while time.monotonic() < end:
            drill.enqueue(10, seconds=chance.choice([0.05, 0.5, 2]))
            drill.enqueue(3, countdown=chance.uniform(0, 10))
            chance.choice([_kill_worker, _kill_worker, _kill_child, _restart_broker, _flush])(drill, chance)
            _for(chance.uniform(1, 6))
            drill.house.man(3)
        drill.over()
    drill.ends(recovery=40)


def _kill_worker(drill: Drill, chance: random.Random) -> None:
    victim = chance.choice(drill.house.workers)
    if victim.running:
        victim.kill()


def _kill_child(drill: Drill, chance: random.Random) -> None:
    import os
    import signal

    children = [pid for worker in drill.house.workers if worker.running for pid in worker.children()]
    if children:
        os.kill(chance.choice(children), signal.SIGKILL)


def _restart_broker(drill: Drill, chance: random.Random) -> None:
    drill.house.broker.kill()
    _for(chance.uniform(0, 3))
    drill.house.broker.restart()


def _flush(drill: Drill, chance: random.Random) -> None:
    with drill.house.broker.client() as client:
        client.flushall()


def _for(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, within=seconds + 5, saying="time passes")
