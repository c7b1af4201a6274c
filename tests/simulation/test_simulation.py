"""The ledger keeps its promises (P1 to P5, P7, P8) under faults, in every seed that was ever tried.

SIMULATION_SEED replays the seeds that it names. SIMULATION_STEPS sets how long each of them runs; `make
chaos` sets more of both.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.seeds import FORMER_FAILURES
from tests.simulation.world import BAD_LINE, FROST, LIMITS, PACES, PAUSES, STORM, Rates, World
from tests.simulation.world import STEPS as CLOCK_STEPS

STEPS = int(os.environ.get("SIMULATION_STEPS", "4000"))

#: Fixed, so that a run of the tests says of a change what it said yesterday.
SEEDS = tuple(map(int, os.environ.get("SIMULATION_SEED", "1").split()))

WEATHER = {
    "usual": Rates(),
    "storm": STORM,
    "bad line": BAD_LINE,
    "frost": FROST,
    "clock steps": CLOCK_STEPS,
    "pauses": PAUSES,
    "limits": LIMITS,
    "paces": PACES,
}

#: Weather in which one seed is enough in `make test`.
ONCE = frozenset({"clock steps", "limits", "paces"}) if STEPS < 10_000 else frozenset()


@pytest.mark.parametrize(
    ("seed", "weather"), [(s, w) for s in SEEDS for w in WEATHER if w not in ONCE or s == SEEDS[0]]
)
def test_nothing_is_lost_and_nothing_runs_twice(seed: int, weather: str) -> None:
    with World(seed, rates=WEATHER[weather]) as world:
        world.run(STEPS)
        assert world.accepted


def test_what_once_failed_holds(subtests: pytest.Subtests) -> None:
    for rule, (weather, seed, steps) in FORMER_FAILURES.items():
        with subtests.test(rule), World(seed, rates=WEATHER[weather]) as world:
            world.run(steps)


def test_a_seed_tells_the_same_story_again() -> None:
    told = []
    for _ in range(2):
        with World(3) as world:
            told.append(world.run(1_500))
    assert told[0] == told[1]
