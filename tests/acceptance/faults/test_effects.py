"""Effects that a job writes together with its own completion, while processes die at random."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine

from tests import effects
from tests.acceptance.faults.drill import Drill
from tests.effects import Effects
from tests.support import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

JOBS = 400
KILLS = 16


@pytest.fixture
def engine(drill: Drill) -> Iterator[Engine]:
    engine = create_engine(drill.house.url)
    with engine.begin() as connection:
        effects.prepare(connection)
    yield engine
    engine.dispose()


def test_effects_of_complete_in_happen_once_whatever_dies(drill: Drill, engine: Engine) -> None:
    chance = random.Random(20260402)
    drill.witness = Effects(engine)
    drill.house.man(3)
    task = drill.house.app.tasks["tests.book"]
    for number in range(JOBS):
        then = "rollback" if number % 10 == 0 else "commit"
        drill.accept([str(task.apply_async((0.05,), {"then": then}, max_tries=20).id)])
    drill.flows()
    for kill in range(KILLS):
        victim = chance.choice([worker for worker in drill.house.workers if worker.running])
        if kill % 4 == 0:
            victim.kill()
            drill.house.man(3)
        elif children := victim.children():
            os.kill(chance.choice(children), signal.SIGKILL)
        _for(chance.uniform(0.05, 0.5))
    drill.over()
    line = drill.ends()
    assert line.again == 0
    assert max(row.tries for row in drill.rows().values()) > 1, "nobody was killed in the middle"


def _for(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, within=seconds + 5, saying="time passes")
