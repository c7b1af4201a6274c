"""What can be said of a pool of processes: how many children, for how long, with which limits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import tests.children_jobs  # noqa: F401  # the producer knows the task, too
from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.operate.job import job
from tests.support import wait_until
from tests.witness import END, START, Witness
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine

both = pytest.mark.parametrize("pool", ["burst", "prefork"])


class Team:
    """A producer, its workers, and what its jobs and the children wrote down."""

    def __init__(
        self, app: Celeriac, start: Callable[..., Worker], where: tuple[str, str], directory: Path, pool: str
    ) -> None:
        self.app = app
        self._start, self._where, self._pool = start, where, pool
        self.witness = Witness(directory / "witness")
        self.children = Witness(directory / "children")

    def work(self, *options: str, settings: dict[str, Any] | None = None, **given: Any) -> Worker:
        told = {"CHILDREN_MARKS": self.children.path, **(settings or {})}
        given = {"include": "tests.jobs,tests.children_jobs", **given}
        return self._start(*self._where, pool=self._pool, options=options, settings=told, **given).ready()

    def enqueue(self, count: int, *call: Any) -> None:
        enqueue_many(self.app.tasks["tests.child"], [[self.witness.path, *call]] * count)

    def send(self, *call: Any, **options: Any) -> str:
        return str(self.app.tasks["tests.child"].apply_async((self.witness.path, *call), **options).id)

    def rows(self) -> dict[str, tuple[JobState, int]]:
        with self.app.database.reading() as connection:
            found = connection.execute(select(JOBS.c.id, JOBS.c.state, JOBS.c.try_count))
            return {str(row.id): (row.state, row.try_count) for row in found}

    def ended(self, count: int) -> dict[str, tuple[JobState, int]]:
        def over() -> bool:
            states = Counter(state for state, _ in self.rows().values())
            return sum(states[state] for state in TERMINAL) == count

        wait_until(over, within=LONG, saying=f"{count} jobs have ended")
        return self.rows()

    def all_ran_once(self, count: int) -> None:
        assert set(self.ended(count).values()) == {(JobState.COMPLETED, 1)}
        assert (len(self.witness.ends()), set(self.witness.ends().values())) == (count, {1})

    def began(self, id: str) -> None:
        wait_until(lambda: id in self.witness.starts(), within=LONG, saying=f"{id} has begun")


@pytest.fixture
def team(
    producer: Celeriac,
    start_worker: Callable[..., Worker],
    redis_url: str,
    postgres_url: str,
    tmp_path: Path,
    pool: str,
) -> Team:
    return Team(producer, start_worker, (redis_url, postgres_url), tmp_path, pool)


# ---- how long a child lives


@both
@pytest.mark.parametrize("most", [1, 7])
def test_a_child_ends_after_so_many_jobs(team: Team, most: int) -> None:
    team.enqueue(40)
    team.work(f"--max-tasks-per-child={most}")
    team.all_ran_once(40)
    ran = Counter(mark.pid for mark in team.witness.marks() if mark.event == END)
    assert max(ran.values()) == most


@both
def test_a_child_that_uses_too_much_memory_ends_after_its_job(team: Team) -> None:
    team.work("--max-memory-per-child=300000")  # KiB
    team.enqueue(100)
    large = {team.send(0.0, 400) for _ in range(3)}
    team.enqueue(100)
    team.all_ran_once(203)
    marks = team.witness.marks()
    for number, end in enumerate(marks):
        if end.job_id in large and end.event == END:
            assert end.pid not in {mark.pid for mark in marks[number + 1 :]}
    small = Counter(mark.pid for mark in marks if mark.event == END and mark.job_id not in large)
    assert max(small.values()) > 10, "a child that uses little goes on"


@both
def test_each_child_says_when_it_begins_and_when_it_ends(team: Team) -> None:
    worker = team.work("--max-tasks-per-child=10")
    team.enqueue(50)
    team.all_ran_once(50)
    worker.term()
    assert worker.wait(LONG) == 0
    begun = {mark.pid: mark.at for mark in team.children.marks() if mark.event == START}
    ended = {mark.pid: mark.at for mark in team.children.marks() if mark.event == END}
    assert begun.keys() == ended.keys()
    assert len(team.children.marks()) == 2 * len(begun)
    for mark in team.witness.marks():
        assert begun[mark.pid] <= mark.at <= ended[mark.pid]


# ---- how many there are


@both
def test_an_autoscaled_pool_follows_its_work(team: Team) -> None:
    worker = team.work("--autoscale=3,1", settings={"AUTOSCALE_KEEPALIVE": 1}, concurrency=1)
    assert len(worker.children()) == 1
    team.enqueue(150, 0.05)
    wait_until(lambda: len(worker.children()) == 3, within=LONG, saying="it has grown")
    team.all_ran_once(150)
    wait_until(lambda: len(worker.children()) == 1, within=LONG, saying="it has shrunk")
    team.enqueue(20)
    team.all_ran_once(170)


@both
def test_a_pool_grows_and_shrinks_when_it_is_told_to(team: Team) -> None:
    worker = team.work()
    team.enqueue(400, 0.02)
    wait_until(team.witness.ends, within=LONG, saying="it works")
    tell = {"destination": [worker.node], "reply": True, "timeout": 10}
    assert "ok" in team.app.control.pool_grow(2, **tell)[0][worker.node]
    wait_until(lambda: len(worker.children()) == 4, within=LONG, saying="it has grown")
    enqueued = 400

    def others_run() -> bool:
        """They may be up only after the jobs of before have ended."""
        nonlocal enqueued
        team.all_ran_once(enqueued)
        if len({mark.pid for mark in team.witness.marks()}) >= 3:
            return True
        team.enqueue(100, 0.02)
        enqueued += 100
        return False

    wait_until(others_run, within=LONG, saying="new children run jobs")
    assert "ok" in team.app.control.pool_shrink(3, **tell)[0][worker.node]
    wait_until(lambda: len(worker.children()) == 1, within=LONG, saying="it has shrunk")
    team.enqueue(200)
    team.all_ran_once(enqueued + 200)


# ---- who asks


@both
def test_what_runs_is_shown(team: Team) -> None:
    worker = team.work()
    team.enqueue(50)
    team.ended(50)
    ids = {team.send(600.0) for _ in range(2)}
    for id in ids:
        team.began(id)
    inspect = team.app.control.inspect([worker.node], timeout=10)
    wait_until(
        lambda: {each["id"] for each in inspect.active()[worker.node]} == ids,
        within=LONG,
        saying="both are active",
    )
    active = inspect.active()[worker.node]
    pids = {mark.pid for mark in team.witness.marks() if mark.job_id in ids}
    assert {each["worker_pid"] for each in active} == pids
    assert {each["acknowledged"] for each in active} == {False}
    assert {each["name"] for each in active} == {"tests.child"}
    first = min(ids)
    assert inspect.query_task(first)[worker.node][first][0] == "active"
    assert inspect.reserved()[worker.node] == []
    stats = inspect.stats()[worker.node]
    assert stats["total"] == {"tests.child": 52}
    assert set(stats["pool"]["processes"]) == set(worker.children())
    assert stats["pool"]["max-concurrency"] == 2


@both
def test_a_job_is_terminated_and_its_neighbour_goes_on(team: Team) -> None:
    team.work()
    other, victim = team.send(2.0), team.send(600.0)
    team.began(other)
    team.began(victim)
    team.app.control.revoke(victim, terminate=True)
    found = team.ended(2)
    assert found == {other: (JobState.COMPLETED, 1), victim: (JobState.CANCELLED, 1)}
    assert team.witness.ends() == {other: 1}


# ---- limits that are set while it runs


@pytest.mark.parametrize("pool", ["burst"])
def test_a_time_limit_that_is_set_holds_for_what_begins_then(team: Team) -> None:
    """In prefork Celery (5.7) goes on with those that a task had when the worker began to draw."""
    worker = team.work()
    team.enqueue(50)
    team.ended(50)
    tell = {"destination": [worker.node], "reply": True, "timeout": 10}
    assert "ok" in team.app.control.time_limit("tests.child", hard=1, **tell)[0][worker.node]
    slow, quick = team.send(600.0, max_tries=1), team.send(0.2)
    team.ended(52)
    assert team.rows()[quick] == (JobState.COMPLETED, 1)
    assert [each.kind for each in job(slow, app=team.app).attempts] == ["timeout"]
    assert "ok" in team.app.control.time_limit("tests.child", **tell)[0][worker.node]
    patient = team.send(2.0, max_tries=1)
    assert team.ended(53)[patient] == (JobState.COMPLETED, 1)


@both
def test_a_rate_limit_that_is_set_holds_until_it_is_taken_away(team: Team) -> None:
    worker = team.work()
    team.enqueue(50)
    team.ended(50)
    tell = {"destination": [worker.node], "reply": True, "timeout": 10}
    assert "ok" in team.app.control.rate_limit("tests.child", "4/s", **tell)[0][worker.node]
    before = len(team.witness.marks())
    team.enqueue(12)
    team.all_ran_once(62)
    starts = [mark.at for mark in team.witness.marks()[before:] if mark.event == START]
    assert (
        max(starts) - min(starts) >= 2
    )  # twelve in three seconds, or two where kombu lets some pass at first
    assert "ok" in team.app.control.rate_limit("tests.child", 0, **tell)[0][worker.node]
    team.enqueue(400)
    team.all_ran_once(462)


# ---- how it ends


@both
def test_a_cold_shutdown_gives_back_what_has_just_begun(team: Team) -> None:
    """Whatever is at work, it is not waited for."""
    worker = team.work()
    ids = {team.send(600.0) for _ in range(2)}
    for id in ids:
        team.began(id)
    worker.quit()
    worker.wait(LONG)
    assert team.rows() == dict.fromkeys(ids, (JobState.PENDING, 0))


@both
def test_a_soft_shutdown_lets_short_jobs_end_and_gives_back_the_rest(team: Team) -> None:
    """For ``worker_soft_shutdown_timeout``, which the app has set to two seconds."""
    worker = team.work(app="tests.soft_app")
    short, long = team.send(1.0), team.send(600.0)
    team.began(short)
    team.began(long)
    worker.quit()
    worker.wait(LONG)
    assert team.witness.ends() == {short: 1}
    assert team.rows() == {short: (JobState.COMPLETED, 1), long: (JobState.PENDING, 0)}
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)
