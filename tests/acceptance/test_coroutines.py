"""``-P burst``: coroutines run beside the jobs of a child, many at a time."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from celery import states
from sqlalchemy import select

import tests.async_jobs
import tests.burst_jobs  # noqa: F401  # the producer knows the tasks, too
from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES
from celeriac.operate.job import Job, job
from tests.producers import producing
from tests.support import wait_until
from tests.witness import END, START, Witness
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine

Start = Callable[..., Worker]


def worker(start: Start, *where: str, **options: Any) -> Worker:
    options = {"include": "tests.jobs,tests.burst_jobs,tests.async_jobs", "pool": "burst", **options}
    return start(*where, **options).ready()


def enqueue(app: Celeriac, task: str, *args: Any, **options: Any) -> str:
    return str(app.tasks[task].apply_async(args, **options).id)


def steps(app: Celeriac, path: str, count: int, *, what: str = "", seconds: float = 0.0) -> list[str]:
    return [enqueue(app, "tests.async_step", path, what, seconds) for _ in range(count)]


def ended(app: Celeriac, id: str) -> Job:
    wait_until(lambda: job(id, app=app).is_terminal, within=LONG, saying=f"job {id} ends")
    return job(id, app=app)


def all_ended(app: Celeriac, ids: list[str]) -> list[Job]:
    return [ended(app, id) for id in ids]


def begun(witness: Witness, ids: list[str]) -> None:
    wait_until(lambda: {*ids} <= {*witness.starts()}, within=LONG, saying="all have begun")


def kinds(app: Celeriac, ids: list[str]) -> dict[str, list[str]]:
    """The kinds of the unsuccessful attempts, by job."""
    found: dict[str, list[str]] = {id: [] for id in ids}
    with app.database.reading() as connection:
        for row in connection.execute(
            select(FAILURES.c.job_id, FAILURES.c.kind).order_by(FAILURES.c.attempt)
        ):
            if str(row.job_id) in found:
                found[str(row.job_id)].append(str(row.kind))
    return found


def at_a_time(witness: Witness) -> int:
    """The most that ran at the same time."""
    most = running = 0
    for mark in witness.marks():
        running += {START: 1, END: -1}[mark.event]
        most = max(most, running)
    return most


@pytest.fixture
def either(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    """As ``producer``, with each of the databases."""
    with producing(redis_url, database_url) as app:
        yield app


# ---- many at a time, beside others


def test_many_run_in_one_child_at_a_time(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start
) -> None:
    """Fifty wait for each other: on one event loop, in one child."""
    worker(start_worker, redis_url, postgres_url, concurrency=1)
    ids = [enqueue(producer, "tests.meet", 50) for _ in range(50)]
    assert [one.result for one in all_ended(producer, ids)] == ids


def test_as_many_run_as_the_option_says(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url, concurrency=2, options=["--async-concurrency", "3"])
    all_ended(producer, steps(producer, path, 40, seconds=0.2))
    witness = Witness(path)
    assert at_a_time(witness) == 6
    assert {*witness.ends().values()} == {1}


def test_none_runs_beside_others_where_the_setting_says_so(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url, concurrency=1, settings={"async_concurrency": 0})
    all_ended(producer, steps(producer, path, 5, seconds=0.2))
    assert at_a_time(Witness(path)) == 1


def test_another_pool_says_that_it_has_no_such_option(
    redis_url: str, postgres_url: str, start_worker: Start
) -> None:
    running = worker(
        start_worker, redis_url, postgres_url, pool="threads", options=["--async-concurrency", "3"]
    )
    assert "--async-concurrency is for -P burst" in running.log


def test_neither_kind_of_job_waits_for_the_other(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    """The only child is at a long job, and coroutines run; then they hang, and jobs run."""
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url, concurrency=1)
    long = enqueue(producer, "tests.step", path, "", LONG)
    witness = Witness(path)
    begun(witness, [long])
    assert {one.state for one in all_ended(producer, steps(producer, path, 30))} == {JobState.COMPLETED}
    assert not job(long, app=producer).is_terminal
    producer.control.revoke(long, terminate=True)
    ended(producer, long)

    hanging = steps(producer, path, 100, what="hang")
    begun(witness, hanging)
    more = steps(producer, path, 1)
    plain = [enqueue(producer, "tests.step", path) for _ in range(20)]
    assert {one.state for one in all_ended(producer, plain)} == {JobState.COMPLETED}
    assert not any(job(id, app=producer).is_terminal for id in (*hanging, *more))


def test_it_knows_whose_job_it_is(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    """Context variables that were set before it; a result that is kept; one that waits for another."""
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url, concurrency=1)
    ids = steps(producer, path, 20, seconds=0.3)
    for one in all_ended(producer, ids):
        assert isinstance(one.result, dict)
        assert (one.result["id"], one.result["seen"]) == (str(one.id), str(one.id))
    assert producer.AsyncResult(ids[0]).get(timeout=LONG)["id"] == ids[0]
    parents = [enqueue(producer, "tests.async_parent", number) for number in range(20)]
    assert [one.result for one in all_ended(producer, parents)] == [2 * number for number in range(20)]


# ---- what becomes of them


def test_each_has_its_own_fate(
    either: Celeriac, redis_url: str, database_url: str, start_worker: Start, tmp_path: Path
) -> None:
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, database_url)
    fates: Mapping[str, tuple[JobState, list[str]]] = {
        "fail": (JobState.FAILED, ["error", "error"]),
        "leave": (JobState.FAILED, ["error", "error"]),
        "unpickled": (JobState.FAILED, ["error", "error"]),
        "reject": (JobState.FAILED, ["rejected"]),
        "retry": (JobState.COMPLETED, ["error"]),
    }
    ids = {what: steps(either, path, 1, what=what)[0] for what in fates}
    others = steps(either, path, 60, seconds=0.1)
    for what, (state, failed) in fates.items():
        found = ended(either, ids[what])
        assert (found.state, kinds(either, [ids[what]])[ids[what]]) == (state, failed), what
    assert {(one.state, one.try_count) for one in all_ended(either, others)} == {(JobState.COMPLETED, 1)}
    starts = Witness(path).starts()
    assert {starts[id] for id in others} == {1}


def test_a_soft_time_limit_cancels_it_alone(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    """Not a job in the same child, nor another coroutine."""
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url, concurrency=1)
    others = [*steps(producer, path, 5, seconds=2.0), enqueue(producer, "tests.step", path, "", 2.0)]
    begun(Witness(path), others)
    ids = [
        enqueue(producer, "tests.tidy", how, soft_time_limit=0.5, max_tries=1)
        for how in ("returns", "raises", "no")
    ]
    tidied, raised, cancelled = all_ended(producer, ids)
    assert (tidied.state, tidied.result) == (JobState.COMPLETED, "tidied up")
    assert (raised.state, cancelled.state) == (JobState.FAILED, JobState.FAILED)
    assert "cannot tidy up" in str(raised.failure_info)
    assert "SoftTimeLimitExceeded" in str(cancelled.failure_info)
    assert {(one.state, one.try_count) for one in all_ended(producer, others)} == {(JobState.COMPLETED, 1)}


def test_a_hard_time_limit_kills_its_child(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    """It alone has timed out. Its neighbours lose an attempt, which is counted once, and run again."""
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url, concurrency=1)
    neighbours = steps(producer, path, 10, seconds=3.0)
    begun(Witness(path), neighbours)
    late = enqueue(producer, "tests.async_step", path, "hang", time_limit=0.5, max_tries=1)
    assert ended(producer, late).state is JobState.FAILED
    assert {one.state for one in all_ended(producer, neighbours)} == {JobState.COMPLETED}
    assert kinds(producer, [late, *neighbours]) == {late: ["timeout"], **{id: ["lost"] for id in neighbours}}


def test_a_killed_child_costs_each_of_its_coroutines_one_attempt(
    either: Celeriac, redis_url: str, database_url: str, start_worker: Start, tmp_path: Path
) -> None:
    path = str(tmp_path / "witness")
    running = worker(start_worker, redis_url, database_url, concurrency=1)
    ids = steps(either, path, 20, seconds=2.0)
    witness = Witness(path)
    begun(witness, ids)
    (child,) = {mark.pid for mark in witness.marks()}
    os.kill(child, signal.SIGKILL)
    assert {one.state for one in all_ended(either, ids)} == {JobState.COMPLETED}
    assert kinds(either, ids) == {id: ["lost"] for id in ids}
    assert (Counter(dict.fromkeys(ids, 2)), Counter(ids)) == (witness.starts(), witness.ends())
    assert running.running


def test_a_revoke_cancels_it_alone(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    """By message. Its child is killed only when it does not end."""
    path = str(tmp_path / "witness")
    running = worker(start_worker, redis_url, postgres_url, concurrency=1)
    neighbours = steps(producer, path, 5, seconds=2.0)
    ids = steps(producer, path, 2, what="hang")
    witness = Witness(path)
    begun(witness, [*ids, *neighbours])
    for id in ids:
        producer.control.revoke(id, terminate=True)
    assert {one.state for one in all_ended(producer, ids)} == {JobState.CANCELLED}
    found = {(one.state, one.try_count) for one in all_ended(producer, neighbours)}
    assert found == {(JobState.COMPLETED, 1)}
    assert {producer.AsyncResult(id).state for id in ids} == {states.REVOKED}
    assert "TaskExited" not in running.log, "its task makes no failure of it"

    deaf = steps(producer, path, 1, what="deaf")
    begun(witness, deaf)
    producer.control.revoke(deaf[0], terminate=True)
    assert ended(producer, deaf[0]).state is JobState.CANCELLED
    (before,) = {mark.pid for mark in witness.marks()}

    def elsewhere() -> bool:
        (one,) = all_ended(producer, steps(producer, path, 1))
        return isinstance(one.result, dict) and one.result["pid"] != before

    wait_until(elsewhere, within=LONG, saying="the child of the deaf one was killed")


# ---- the end of a child, and of a worker


def test_a_warm_shutdown_waits_for_them(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    """As for jobs that end meanwhile. What was not begun goes back, uncounted."""
    path = str(tmp_path / "witness")
    running = worker(
        start_worker, redis_url, postgres_url, concurrency=2, options=["--async-concurrency", "5"]
    )
    ids = steps(producer, path, 10, seconds=3.0)
    ids.append(enqueue(producer, "tests.step", path, "", 1.0))
    begun(Witness(path), ids)
    waiting = steps(producer, path, 5)
    running.term()
    assert running.wait(LONG) == 0
    found = [job(id, app=producer) for id in ids]
    assert {(one.state, one.try_count) for one in found} == {(JobState.COMPLETED, 1)}
    assert {(job(id, app=producer).state, job(id, app=producer).try_count) for id in waiting} == {
        (JobState.PENDING, 0)
    }


def test_a_cold_shutdown_gives_them_back(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    path = str(tmp_path / "witness")
    running = worker(start_worker, redis_url, postgres_url)
    ids = steps(producer, path, 10, what="hang")
    begun(Witness(path), ids)
    running.quit()
    running.wait(LONG)
    found = [job(id, app=producer) for id in ids]
    assert {(one.state, one.try_count) for one in found} == {(JobState.PENDING, 0)}


def test_a_child_ends_after_so_many_jobs_of_both_kinds(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url, options=["--max-tasks-per-child", "10"])
    ids = steps(producer, path, 60, seconds=0.1)
    ids += [enqueue(producer, "tests.step", path) for _ in range(20)]
    found = {(one.state, one.try_count) for one in all_ended(producer, ids)}
    assert found == {(JobState.COMPLETED, 1)}
    witness = Witness(path)
    assert {*witness.starts().values()} == {1}
    by_child = Counter(mark.pid for mark in witness.marks() if mark.event == START)
    assert max(by_child.values()) <= 11  # a job may be at work when a coroutine is the tenth


def test_remote_control_sees_them(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start, tmp_path: Path
) -> None:
    path = str(tmp_path / "witness")
    running = worker(start_worker, redis_url, postgres_url, concurrency=1, options=["-E"])
    ids = steps(producer, path, 3, what="hang")
    begun(Witness(path), ids)
    inspect = producer.control.inspect([running.node], timeout=10)
    wait_until(
        lambda: {each["id"] for each in inspect.active()[running.node]} == {*ids},
        within=LONG,
        saying="they are shown as active",
    )
