"""Limits with real workers: never above them, whoever dies, and nothing that waits is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from celeriac import enqueue_many
from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate import limits
from celeriac.operate.actions import Actor, Via
from celeriac.operate.explain import Reason, explain
from celeriac.operate.job import cancel, job
from tests.paced_starts import most_within, starts
from tests.producers import producing
from tests.support import wait_until
from tests.witness import START, Mark, Witness
from tests.workers import Worker

ANN = Actor("ann", Via.CLI)


class Team:
    """Who enqueues, and what was begun when."""

    def __init__(self, app: Celeriac, path: Path) -> None:
        self.app = app
        self.path = str(path / "witness")
        self.witness = Witness(self.path)

    def send(self, task: str, count: int, *args: Any) -> list[str]:
        return [self.app.tasks[task].delay(self.path, *args).id for _ in range(count)]

    def completes(self, ids: list[str], *, within: float = 120) -> None:
        def completed() -> bool:
            return all(job(id, app=self.app).state is JobState.COMPLETED for id in ids)

        wait_until(completed, within=within, saying=f"{len(ids)} jobs are completed")

    def at_once(self, ids: list[str], *, dead: frozenset[int] = frozenset()) -> int:
        """How many of these ran at the same time, at most; of processes that were not killed."""
        wanted, marks = set(ids), [mark for mark in self.witness.marks() if mark.pid not in dead]
        running = most = 0
        for mark in sorted((m for m in marks if m.job_id in wanted), key=_moment):
            running += 1 if mark.event == START else -1
            most = max(most, running)
        return most


def _is_limited(app: Celeriac, id: str) -> bool:
    return explain(id, app=app).reason is Reason.LIMITED


def _passed(seconds: float, began: float) -> bool:
    return time.monotonic() - began > seconds


def _moment(mark: Mark) -> tuple[float, bool]:
    return mark.at, mark.event == START  # an end before a start of the same moment


@pytest.fixture
def team(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Team]:
    with producing(redis_url, database_url) as app:
        yield Team(app, tmp_path)


@pytest.fixture
def start(start_worker: Callable[..., Worker], redis_url: str, database_url: str) -> Callable[..., Worker]:
    return lambda **options: start_worker(redis_url, database_url, **options).ready()


@pytest.mark.parametrize("pool", ["prefork", "burst"])
def test_two_workers_together_never_exceed_a_limit(
    team: Team, start: Callable[..., Worker], redis_url: str, pool: str
) -> None:
    start(pool=pool), start(pool=pool)
    given = team.send("tests.two_at_once", 60)
    with redis.Redis.from_url(redis_url) as broker:
        broker.flushall()  # what was on its way is lost
    team.completes(given)
    assert team.at_once(given) == 2, "it is used in full, and not exceeded"
    starts = team.witness.starts()
    assert {starts[id] for id in given} == {1}


def test_a_worker_that_dies_gives_its_permits_back(team: Team, start: Callable[[], Worker]) -> None:
    victim = start()
    stuck = team.send("tests.two_at_once", 2, 600)
    wait_until(lambda: len(team.witness.starts()) == 2, within=60, saying="both run")
    waiting = team.send("tests.two_at_once", 4)
    start()
    wait_until(
        lambda: explain(waiting[0], app=team.app).reason is Reason.LIMITED,
        within=30,
        saying="it is explained",
    )
    said = explain(waiting[0], app=team.app).sentence
    assert said == "it waits for the limit tests: 2 of 2 in use; 1. in line"
    victim.kill()
    # Rescued, the two that it held go on in the other worker: they are cancelled, and free the limit again.
    for id in stuck:
        cancel(id, hard=True, app=team.app)
    team.completes(waiting)


def test_all_jobs_of_a_limit_wait_when_one_is_told_to_slow_down(
    team: Team, start: Callable[[], Worker]
) -> None:
    slow = team.send("tests.told_to_slow_down", 3, "slow")
    quick = team.send("tests.told_to_slow_down", 1, "quick")
    start()
    team.completes([*slow, *quick])
    first = sorted(mark.at for mark in team.witness.marks() if mark.job_id in slow and mark.event == START)
    assert min(later - first[0] for later in first[1:]) > 2.9, "nothing of the key started while it rested"
    found = [job(id, app=team.app) for id in slow]
    assert {(each.try_count, each.max_tries) for each in found} == {(2, 2)}, "and it cost no try"
    assert {each.attempts[0].kind for each in found} == {"snoozed"}


def test_a_rate_is_kept_by_two_workers_together(team: Team, start: Callable[[], Worker]) -> None:
    start(), start()
    given = team.send("tests.paced", 60)
    team.completes(given)
    starts = sorted(mark.at for mark in team.witness.marks() if mark.job_id in given)
    assert starts[-1] - starts[0] >= 59 / 20 * 0.95, "twenty a second"


# A process that is stopped inside of a transaction holds SQLite's one lock, and nobody can take it away.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_worker_that_was_frozen_starts_no_pile(
    team: Team, start: Callable[[], Worker], redis_url: str
) -> None:
    task = team.app.tasks["tests.hundred_a_second"]
    enqueue_many(task, [()] * 1200)
    one, _ = start(), start()
    begun = partial(starts, team.app.database, task.name)
    wait_until(lambda: len(begun()) > 200, within=60, saying="they run")
    one.freeze()
    before = len(begun())
    wait_until(lambda: len(begun()) > before + 150, within=60, saying="the other goes on")
    one.thaw()
    wait_until(lambda: len(begun()) == 1200, within=120, saying="all have run")
    found = begun()
    for seconds in (0.2, 0.5, 1, 2, 5):
        assert most_within(found, seconds) <= 100 * seconds + 10, "the rate, and its burst"


def test_an_order_is_kept_across_workers_retries_and_a_kill(team: Team, start: Callable[[], Worker]) -> None:
    start()
    victim = start()
    given = {
        key: [team.send("tests.in_order", 1, key, number % 2)[0] for number in range(8)] for key in (1, 2)
    }
    wait_until(lambda: len(team.witness.starts()) > 4, within=60, saying="they run")
    victim.kill()
    team.completes([id for ids in given.values() for id in ids])
    for ids in given.values():
        ended = [mark.job_id for mark in team.witness.marks() if mark.event != START and mark.job_id in ids]
        assert list(dict.fromkeys(ended)) == ids
        begun = [mark.job_id for mark in team.witness.marks() if mark.event == START and mark.job_id in ids]
        assert begun == sorted(begun, key=ids.index), "nothing started before the one before had ended"


def test_what_an_operator_sets_holds_within_seconds(team: Team, start: Callable[[], Worker]) -> None:
    start()
    first = team.send("tests.two_at_once", 2)
    team.completes(first)
    assert limits.pause_limit("tests", actor=ANN, reason="their maintenance", app=team.app)
    wait_until(
        lambda: limits.limit("tests", app=team.app).paused is not None, within=10, saying="it is on record"
    )
    wait_until(partial(_passed, 2.0, time.monotonic()), within=10, saying="it is obeyed by now")
    held = team.send("tests.two_at_once", 2)
    wait_until(
        lambda: "was paused by ann" in explain(held[0], app=team.app).sentence, within=30, saying="it is said"
    )
    assert not any(team.witness.starts()[id] for id in held)
    assert limits.resume_limit("tests", actor=ANN, app=team.app)
    team.completes(held)


def test_a_job_of_a_fair_queue_does_not_wait_for_the_many_of_another(
    start_worker: Callable[..., Worker], redis_url: str, database_url: str, tmp_path: Path
) -> None:
    with producing(redis_url, database_url, fair_by=("user_id",)) as app:
        team = Team(app, tmp_path)
        mark = app.tasks["tests.witness"]
        many = [mark.apply_async((team.path, 0.02), user_id="ann").id for _ in range(150)]
        one = mark.apply_async((team.path, 0.02), user_id="bob").id
        start_worker(redis_url, database_url, settings={"fair_by": "user_id"}).ready()
        team.completes([*many, one])
        begun = [mark.job_id for mark in team.witness.marks() if mark.event == START]
        assert begun.index(one) < 30, "it was accepted as the last of 151"
        assert {team.witness.starts()[id] for id in (*many, one)} == {1}
