"""Unique and debounced jobs with real workers: one for each key, whoever calls, and whoever dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from celery import chord

from celeriac import Unique, dead_letters
from celeriac.application import Celeriac
from celeriac.errors import DuplicateJob
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job, job
from tests.producers import producing
from tests.support import wait_until
from tests.witness import START, Witness
from tests.workers import Worker

_CALLERS = 12


class Shop:
    """Who enqueues, and what was begun."""

    def __init__(self, app: Celeriac, path: Path) -> None:
        self.app = app
        self.path = str(path / "witness")
        self.gate = str(path / "gate")
        self.witness = Witness(self.path)

    def sync(self, order: int, note: str = "", **options: Any) -> str:
        return str(self.app.tasks["tests.sync"].apply_async((self.path, order, note), **options).id)

    def sync_gated(self, order: int) -> str:
        return str(self.app.tasks["tests.sync"].delay(self.path, order, gate=self.gate).id)

    def open(self) -> None:
        Path(self.gate).touch()

    def job(self, id: str) -> Job:
        return job(id, app=self.app)

    def runs(self, id: str) -> None:
        wait_until(lambda: self.witness.starts()[id] == 1, within=60, saying=f"{id} runs")

    def ends(self, id: str, state: JobState = JobState.COMPLETED) -> Job:
        wait_until(lambda: self.job(id).state is state, within=60, saying=f"{id} is {state}")
        return self.job(id)


@pytest.fixture
def shop(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Shop]:
    with producing(redis_url, database_url) as app:
        yield Shop(app, tmp_path)


@pytest.fixture
def start(start_worker: Callable[..., Worker], redis_url: str, database_url: str) -> Callable[[], Worker]:
    return lambda: start_worker(redis_url, database_url).ready()


def test_callers_at_the_same_moment_have_one_job_which_runs_once(
    shop: Shop, start: Callable[[], Worker]
) -> None:
    start(), start()
    barrier = Barrier(_CALLERS)

    def run(_: int) -> str:
        barrier.wait()
        return shop.sync_gated(7)

    with ThreadPoolExecutor(_CALLERS) as pool:
        (first,) = set(pool.map(run, range(_CALLERS)))
    shop.runs(first)
    assert shop.sync_gated(7) == first, "it has its key while it runs"
    shop.open()
    shop.ends(first)
    assert shop.witness.starts() == {first: 1}
    second = shop.sync(7)
    assert second != first
    shop.ends(second)


def test_a_chord_with_duplicate_members_is_completed_and_its_function_runs_once(
    shop: Shop, start: Callable[[], Worker]
) -> None:
    start(), start()
    first = shop.sync_gated(1)
    shop.runs(first)
    sync, echo = shop.app.tasks["tests.sync"], shop.app.tasks["tests.echo"]
    members = [sync.s(shop.path, order, "member") for order in (1, 1, 2, 2)]
    body = chord(members, echo.s())()
    two = [member.id for member in body.parent.results]
    wait_until(lambda: sum(shop.witness.starts()[id] for id in two) == 1, within=60, saying="order 2 has run")
    assert shop.job(body.id).state is JobState.PENDING, "it waits for order 1"
    shop.open()
    ended = shop.ends(body.id)
    assert ended.result == [[[[1, ""], [1, ""], [2, "member"], [2, "member"]]], {}]
    assert shop.witness.starts()[first] == 1
    assert sum(shop.witness.starts().values()) == 2
    assert {str(shop.job(id).state) for id in two} == {"completed"}


def test_a_dead_letter_whose_key_is_taken_is_replayed_when_it_is_free(
    shop: Shop, start: Callable[[], Worker]
) -> None:
    start()
    dead = shop.sync(7, "fail")
    shop.ends(dead, JobState.FAILED)
    other = shop.sync_gated(7)
    shop.runs(other)
    with pytest.raises(DuplicateJob, match=f"job {other} has the unique key tests.sync:"):
        dead_letters.replay_one(dead, app=shop.app)
    assert shop.job(dead).state is JobState.FAILED
    shop.open()
    shop.ends(other)
    assert dead_letters.replay_one(dead, app=shop.app)
    wait_until(lambda: shop.witness.starts()[dead] == 2, within=60, saying="it runs again")
    shop.ends(dead, JobState.FAILED)


def test_a_call_is_kept_takes_over_or_is_rejected_and_a_message_in_the_broker_runs_what_holds(
    shop: Shop, start: Callable[[], Worker]
) -> None:
    def rule(conflict: str) -> dict[str, Any]:
        return {"unique": Unique(args=("order",), on_conflict=conflict)}

    kept, replaced, strict = (shop.sync(order, "first") for order in (1, 2, 3))  # their messages are sent
    assert shop.sync(1, "second", **rule("keep")) == kept
    assert shop.sync(2, "second", **rule("replace")) == replaced
    assert shop.sync(2, "third", **rule("replace")) == replaced
    with pytest.raises(DuplicateJob, match=strict):
        shop.sync(3, "second", **rule("reject"))
    start()
    results = [shop.ends(id).result for id in (kept, replaced, strict)]
    assert results == [[1, "first"], [2, "third"], [3, "first"]]
    assert shop.witness.starts() == {kept: 1, replaced: 1, strict: 1}


def test_a_job_whose_worker_is_killed_has_its_key_until_another_one_has_ended_it(
    shop: Shop, start: Callable[[], Worker]
) -> None:
    victim = start()
    id = shop.sync_gated(7)
    shop.runs(id)
    victim.kill()
    assert shop.sync(7) == id
    assert shop.app.tasks["tests.sync"].apply_async((shop.path, 7), max_tries=2).id == id
    with_tries = shop.job(id)
    assert (with_tries.try_count, with_tries.max_tries) == (1, 1), "the rule is to keep it as it is"
    start()
    shop.open()
    shop.ends(id, JobState.FAILED)  # its one try died with the worker
    assert shop.sync(7) != id


def test_the_last_call_runs_when_calls_have_ended(shop: Shop, start: Callable[[], Worker]) -> None:
    start()
    settles = shop.app.tasks["tests.settles"]
    (id,) = {settles.delay(shop.path, 7, note).id for note in range(5)}
    last = time.time()
    assert shop.ends(id).result == 4
    (began,) = [mark.at for mark in shop.witness.marks() if mark.event == START]
    assert began - last > 0.9, "a second after the last call"


def test_calls_without_end_do_not_keep_a_job_from_its_run(shop: Shop, start: Callable[[], Worker]) -> None:
    start()
    settles, first, notes = shop.app.tasks["tests.settles"], time.time(), iter(range(1_000_000))
    id = settles.delay(shop.path, 7, next(notes)).id
    seen = []

    def began() -> bool:
        seen.append(next(notes))
        return bool(settles.delay(shop.path, 7, seen[-1]).id != id)

    wait_until(began, within=60, saying="a call makes the next job: the first has begun")
    ended = shop.ends(id)
    (at, *_) = [mark.at for mark in shop.witness.marks() if mark.job_id == id]
    assert 2.9 < at - first < 20, "three seconds after the first call"
    assert ended.result == seen[-2], "the last call before it began"
