"""Backoff: how long a job waits for its next attempt, and how far chance may move that."""

from __future__ import annotations

import math
from typing import Any

import pytest

from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.ledger.schema.delays import LONGEST
from celeriac.settings.platform import Settings
from celeriac.task.task import Task
from tests.apps import build

DRAWS = 300


def an_app(**settings: Any) -> Celeriac:
    """An app that connects to nothing."""
    given: dict[str, Any] = {
        "broker_url": "redis://127.0.0.1:1/0",
        "database_url": "sqlite:///nowhere/ledger.db",
    }
    return build(Settings(**(given | settings)), set_as_current=False)


def a_task(app: Celeriac | None = None, **options: Any) -> Task:
    def work() -> None:
        """Never run."""

    made: Task = (app or an_app()).task(name="tests.backoff", shared=False, **options)(work)
    return made


def draws(task: Task, failed: int) -> list[float]:
    return [task.backoff(failed) for _ in range(DRAWS)]


def test_the_delay_doubles_with_each_failed_attempt() -> None:
    task = a_task(retry_jitter=False)
    assert [task.backoff(failed) for failed in (1, 2, 3, 4, 5)] == [120, 240, 480, 960, 1920]


@pytest.mark.parametrize("failed", [6, 7, 100, 100_000])
def test_the_delay_has_a_ceiling(failed: int) -> None:
    assert a_task(retry_jitter=False).backoff(failed) == 3600


@pytest.mark.parametrize("options", [{"retry_base": 1e13, "retry_max": 1e13}, {"retry_max": math.inf}])
def test_no_delay_is_longer_than_the_ledger_counts(options: dict[str, float]) -> None:
    assert 3600 < a_task(**options).backoff(100) <= LONGEST


@pytest.mark.parametrize("options", [{"retry_backoff": 1e300, "retry_backoff_max": 1e300}])
def test_celerys_own_backoff_is_bounded_too(options: dict[str, float]) -> None:
    assert 0 <= a_task(**options).backoff(3) <= LONGEST


@pytest.mark.parametrize("name", ["retry_base", "retry_max"])
@pytest.mark.parametrize("value", [math.nan, -1, "soon"])
def test_a_base_that_is_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadArgument, match=name):
        a_task(**{name: value}).backoff(1)


def test_up_to_a_tenth_is_added_by_chance() -> None:
    drawn = draws(a_task(), 1)
    assert 120 <= min(drawn) < 122
    assert 130 < max(drawn) <= 132


def test_chance_is_added_at_the_ceiling_too() -> None:
    drawn = draws(a_task(), 50)
    assert 3600 <= min(drawn) < max(drawn) <= 3960


def test_full_jitter_is_anything_up_to_the_delay() -> None:
    drawn = draws(a_task(retry_jitter=True), 2)
    assert 0 <= min(drawn) < 60
    assert 180 < max(drawn) <= 240


@pytest.mark.parametrize("jitter", [0, 0.0, False])
def test_chance_can_be_switched_off(jitter: float) -> None:
    assert set(draws(a_task(retry_jitter=jitter), 1)) == {120.0}


def test_a_task_may_choose_its_share_of_chance() -> None:
    drawn = draws(a_task(retry_jitter=0.5), 1)
    assert 120 <= min(drawn) < 130
    assert 170 < max(drawn) <= 180


def test_a_task_may_choose_base_and_ceiling() -> None:
    task = a_task(retry_base=0.5, retry_max=3, retry_jitter=False)
    assert [task.backoff(failed) for failed in (1, 2, 3, 4)] == [1, 2, 3, 3]


def test_a_base_of_nothing_means_at_once() -> None:
    assert set(draws(a_task(retry_base=0), 3)) == {0.0}


def test_the_settings_choose_for_every_task_that_does_not() -> None:
    app = an_app(retry_base=1, retry_max=5, retry_jitter=0)
    task = a_task(app)
    assert [task.backoff(failed) for failed in (1, 2, 3)] == [2, 4, 5]


# Celery's own words keep their meaning


@pytest.mark.parametrize(
    ("factor", "delays"), [(True, [1, 2, 4, 8]), (5, [5, 10, 20, 40]), (0.5, [1, 2, 4, 8])]
)
def test_retry_backoff_is_celerys(factor: float, delays: list[int]) -> None:
    task = a_task(retry_backoff=factor, retry_jitter=False)
    assert [task.backoff(failed) for failed in (1, 2, 3, 4)] == delays


def test_retry_backoff_has_celerys_ceiling() -> None:
    assert a_task(retry_backoff=True, retry_jitter=False).backoff(100) == 600
    assert a_task(retry_backoff=True, retry_backoff_max=30, retry_jitter=False).backoff(100) == 30


def test_retry_backoff_has_celerys_full_jitter_unless_it_is_switched_off() -> None:
    for options in ({}, {"retry_jitter": True}):
        drawn = draws(a_task(retry_backoff=100, **options), 2)
        assert 0 <= min(drawn) < 50
        assert 150 < max(drawn) <= 200


def test_without_retry_backoff_the_ledgers_own_holds() -> None:
    assert a_task(retry_backoff=False, retry_jitter=False).backoff(1) == 120
