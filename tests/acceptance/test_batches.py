"""Batches with real workers: many jobs in one run, each with an outcome of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from celeriac import Debounce, enqueue_many
from celeriac.application import Celeriac
from celeriac.errors import JobNotFound
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job, cancel, job, jobs
from tests.producers import producing
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

DONE, DEAD = JobState.COMPLETED, JobState.FAILED


class Team:
    def __init__(self, app: Celeriac, path: Path) -> None:
        self.app = app
        self.path = str(path / "witness")
        self.witness = Witness(self.path)
        self.batched = app.tasks["tests.batched"]

    def together(self, *words: str, **options: Any) -> list[str]:
        """Jobs that are in the broker at the same time; their ids in the order of the words."""
        members = [self.batched.s(self.path, word, number) for number, word in enumerate(words)]
        return [member.id for member in group(members).apply_async(**options)]

    def ends(self, ids: list[str], state: JobState = DONE) -> list[Job]:
        def ended() -> bool:
            with suppress(JobNotFound):  # the next step of a chain, until its first one has ended
                return all(job(id, app=self.app).is_terminal for id in ids)
            return False

        wait_until(ended, within=90, saying=f"{len(ids)} jobs have ended")
        found = [job(id, app=self.app) for id in ids]
        assert {each.state for each in found} == {state}
        return found

    def sizes(self) -> list[int]:
        """How many jobs each run had."""
        return [mark.attempt for mark in self.witness.marks()]


@pytest.fixture
def team(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Team]:
    with producing(redis_url, database_url) as app:
        yield Team(app, tmp_path)


@pytest.fixture
def start(start_worker: Callable[..., Worker], redis_url: str, database_url: str) -> Callable[..., Worker]:
    return lambda **options: start_worker(redis_url, database_url, **options).ready()


@pytest.mark.parametrize("pool", ["burst", "prefork", "threads", "solo"])
def test_jobs_run_together_and_each_has_its_result(
    team: Team, start: Callable[..., Worker], pool: str
) -> None:
    assert enqueue_many(team.batched, ([team.path, "done", n] for n in range(20))) == 20
    start(pool=pool)
    ids = [each.id for each in jobs(task="tests.batched", app=team.app)]
    found = team.ends(ids)
    assert sorted(each.result for each in found) == [[number, 1] for number in range(20)]
    assert {each.try_count for each in found} == {1}
    assert sum(team.sizes()) == 20, "each ran once"
    assert max(team.sizes()) == 10, "a full batch"
    assert len(team.sizes()) <= 6


def test_a_batch_that_is_not_full_runs_when_its_wait_is_over(
    team: Team, start: Callable[..., Worker]
) -> None:
    start()
    (id,) = team.together("silent")
    (found,) = team.ends([id])
    assert (found.result, team.sizes()) == (None, [1])


def test_each_job_has_its_own_outcome(team: Team, start: Callable[..., Worker]) -> None:
    ids = dict(
        zip(
            ("done", "silent", "fail", "retry"), team.together("done", "silent", "fail", "retry"), strict=True
        )
    )
    start(concurrency=1)
    done, silent = team.ends([ids["done"], ids["silent"]])
    assert (done.result, done.try_count, silent.result) == ([0, 1], 1, None)
    (failed,) = team.ends([ids["fail"]], DEAD)
    assert failed.try_count == 2
    assert [each.exception_type for each in failed.attempts] == ["ValueError", "ValueError"]
    (retried,) = team.ends([ids["retry"]])
    assert (retried.try_count, retried.result) == (2, None)
    assert team.sizes()[0] == 4, "they ran together"


def test_what_the_function_raises_is_the_outcome_of_those_it_said_nothing_of(
    team: Team, start: Callable[..., Worker]
) -> None:
    said, silent, culprit = team.together("done", "silent", "raise")
    start(concurrency=1)
    first, second, third = team.ends([said, silent, culprit])
    assert (first.try_count, first.result) == (1, [0, 1])
    for each in (second, third):
        assert (each.try_count, [one.exception_type for one in each.attempts]) == (2, ["ConnectionError"])


def test_a_child_that_dies_costs_each_of_its_jobs_one_try(team: Team, start: Callable[..., Worker]) -> None:
    ids = team.together("silent", "kill", "silent")
    start(concurrency=1)
    for each in team.ends(ids):
        assert (each.try_count, [one.kind for one in each.attempts]) == (2, ["lost"])


def test_a_hard_limit_ends_the_run_for_each_of_its_jobs(team: Team, start: Callable[..., Worker]) -> None:
    ids = team.together("silent", "sleep", time_limit=2)
    start(concurrency=1)
    for each in team.ends(ids):
        assert (each.try_count, [one.kind for one in each.attempts]) == (2, ["timeout"])


def test_a_job_that_is_cancelled_while_it_is_gathered_is_kept_from_the_run(
    team: Team, start: Callable[..., Worker]
) -> None:
    start()
    late = team.app.tasks["tests.batched_late"]
    ids = [late.delay(team.path).id for _ in range(3)]
    wait_until(
        lambda: all(job(id, app=team.app).state is JobState.RUNNING for id in ids),
        within=60,
        saying="they are gathered",
    )
    cancel(ids[1], app=team.app)
    team.ends([ids[0], ids[2]])
    (cancelled,) = team.ends([ids[1]], JobState.CANCELLED)
    assert cancelled.try_count == 1
    assert team.sizes() == [2]


def test_a_hard_cancel_of_one_that_runs_lets_the_others_be_tried_again(
    team: Team, start: Callable[..., Worker]
) -> None:
    other, sleeper = team.together("silent", "sleep")
    start(concurrency=1)
    wait_until(lambda: team.sizes() == [2], within=60, saying="they run")
    cancel(sleeper, hard=True, app=team.app)
    team.ends([sleeper], JobState.CANCELLED)
    (again,) = team.ends([other])
    assert (again.try_count, [one.kind for one in again.attempts]) == (2, ["lost"])


def test_members_of_a_chord_and_steps_of_a_chain_run_in_batches(
    team: Team, start: Callable[..., Worker]
) -> None:
    start()
    echo = team.app.tasks["tests.echo"]
    body = chord([team.batched.si(team.path, "done", n) for n in range(4)], echo.s())()
    last = chain(team.batched.si(team.path, "done", 7), echo.s())()
    first, second = team.ends([body.id, last.id])
    assert first.result == [[[[0, 1], [1, 1], [2, 1], [3, 1]]], {}]
    assert second.result == [[[7, 1]], {}]


def test_a_worker_that_stops_gives_back_what_it_has_gathered(
    team: Team, start: Callable[..., Worker]
) -> None:
    worker = start()
    ids = team.together("done", "done")
    wait_until(
        lambda: all(job(id, app=team.app).state is JobState.RUNNING for id in ids) or team.sizes() != [],
        within=60,
        saying="they are gathered",
    )
    worker.term()
    worker.wait(60)
    states = {job(id, app=team.app).state for id in ids}
    assert states in ({JobState.PENDING}, {DONE}), "released, or they had run"
    start()
    assert {each.try_count for each in team.ends(ids)} == {1}


def test_a_limit_with_a_key_holds_in_batches_and_of_calls_with_one_key_one_job_is_made(
    team: Team, start: Callable[..., Worker]
) -> None:
    keyed = team.app.tasks["tests.batched_by_key"]
    first = [keyed.delay(path=team.path, order=n, tenant="ab"[n % 2], note="first") for n in range(12)]
    again = [keyed.delay(path=team.path, order=n, tenant="ab"[n % 2], note="again") for n in range(12)]
    assert [each.id for each in again] == [each.id for each in first]
    start()
    found = team.ends([each.id for each in first])
    assert {each.result for each in found} == {"first"}
    runs = Counter((mark.attempt, mark.job_id) for mark in team.witness.marks())
    assert sum(runs.values()) == 12, "each ran once"
    assert max(runs.values()) == 2, "of one tenant two run together"


def test_a_debounced_call_runs_in_a_batch_as_its_last_call_says(
    team: Team, start: Callable[..., Worker]
) -> None:
    keyed = team.app.tasks["tests.batched_by_key"]
    start()
    calls = [
        keyed.apply_async(
            kwargs={"path": team.path, "order": 1, "tenant": "a", "note": note},
            debounce=Debounce(1, args=("order",)),
        )
        for note in ("first", "last")
    ]
    assert calls[0].id == calls[1].id
    (found,) = team.ends([calls[0].id])
    assert found.result == "last"
