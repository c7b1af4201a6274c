"""Jobs in a worker's hands while it stops, or while its connections are cut: none lost, none run twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from sqlalchemy import make_url

import tests.jobs  # noqa: F401  # the producer knows the tasks, too
from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.operate.job import Job, job, jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.servers import ValkeyServer, connect
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine


@contextmanager
def producing(broker: str, database: str) -> Iterator[Celeriac]:
    known: dict[str, Any] = {"broker_url": broker, "database_url": database, "task_modules": ("tests.jobs",)}
    app = build(Settings(**known), set_as_current=False)
    try:
        yield app
    finally:
        app.close()


def enqueue(app: Celeriac, path: Path, count: int, *, seconds: float) -> set[str]:
    """Jobs that leave their marks in ``path``; their ids."""
    task = app.tasks["tests.witness"]
    return {str(task.delay(str(path), seconds).id) for _ in range(count)}


def counts(app: Celeriac, state: JobState) -> int:
    return len(jobs(state=state, limit=1000, app=app))


def by_id(app: Celeriac) -> dict[str, Job]:
    return {job.id: job for job in jobs(limit=1000, app=app)}


def all_completed(app: Celeriac, count: int) -> None:
    wait_until(
        lambda: counts(app, JobState.COMPLETED) == count, within=LONG, saying=f"{count} jobs are completed"
    )


def exactly_once(witness: Witness, ids: set[str]) -> None:
    assert dict(witness.starts()) == dict.fromkeys(ids, 1)
    assert dict(witness.ends()) == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("pool", ["burst", "prefork", "threads", "solo", "gevent"])
def test_a_warm_shutdown_finishes_what_runs_and_gives_back_the_rest(
    pool: str, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    witness = Witness(tmp_path / "witness")
    with producing(redis_url, postgres_url) as app:
        worker = start_worker(redis_url, postgres_url, pool=pool, settings={"prefetch": 8}).ready()
        ids = enqueue(app, tmp_path / "witness", 10, seconds=1)
        with closing(redis.Redis.from_url(redis_url)) as client:
            in_hand = (lambda: True) if pool == "solo" else (lambda: client.llen("normal") == 0)
            wait_until(
                lambda: witness.starts() and in_hand(),
                within=LONG,
                saying="one runs, the worker has all of them",
            )
        worker.term()
        assert worker.wait(LONG) == 0

        begun = set(witness.starts())
        rows = by_id(app)
        assert 1 <= len(begun) < len(ids)
        exactly_once(witness, begun)
        assert {(rows[id].state, rows[id].try_count) for id in begun} == {(JobState.COMPLETED, 1)}
        given_back = [rows[id] for id in ids - begun]
        assert {(row.state, row.try_count, row.worker_id) for row in given_back} == {
            (JobState.PENDING, 0, None)
        }
        if pool != "solo":  # which takes few messages before it runs the first job
            assert {row.dispatched for row in given_back} == {None}, (
                "their messages are gone, so they are due"
            )

        start_worker(redis_url, postgres_url, pool="threads", concurrency=10).ready()
        all_completed(app, len(ids))
        exactly_once(witness, ids)
        assert {job.try_count for job in by_id(app).values()} == {1}


def test_a_warm_shutdown_keeps_what_a_plain_producer_sent(
    redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """It has a row as soon as a worker has taken it out of the queue: nobody else knows of it then."""
    witness, path = Witness(tmp_path / "witness"), str(tmp_path / "witness")
    plain = Celery("plain", broker=redis_url, set_as_current=False)
    with producing(redis_url, postgres_url) as app, closing(redis.Redis.from_url(redis_url)) as client:
        worker = start_worker(redis_url, postgres_url).ready()
        ids = {plain.send_task("tests.witness", (path, 1), queue="normal").id for _ in range(10)}
        plain.close()
        wait_until(
            lambda: witness.starts() and client.llen("normal") == 0,
            within=LONG,
            saying="one runs, the worker has all of them",
        )
        worker.term()
        assert worker.wait(LONG) == 0
        assert set(by_id(app)) == ids
        start_worker(redis_url, postgres_url, pool="threads", concurrency=10).ready()
        all_completed(app, len(ids))
        exactly_once(witness, ids)


def test_what_a_worker_held_whose_loop_died_is_lost_and_counted(
    redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """Any of them may be the cause. What ran ends, as in a warm shutdown; what had not begun is an error."""
    with producing(redis_url, postgres_url) as app:
        worker = start_worker(redis_url, postgres_url, include="tests.dying_loop")
        _, second = (str(app.tasks["tests.seldom"].delay().id) for _ in range(2))
        wait_until(
            lambda: job(second, app=app).state is JobState.RUNNING, within=LONG, saying="it waits in a bucket"
        )
        last = str(app.tasks["tests.sleep"].delay(1).id)
        assert worker.wait(LONG) == 1
        ran, held = job(last, app=app), job(second, app=app)
        assert ran.state is JobState.COMPLETED
        assert (held.state, held.try_count, held.attempts[0].kind) == (JobState.ERROR, 1, AttemptKind.LOST)
        assert "AssertionError: on purpose" in (held.failure_info or "")


def test_broker_connections_that_are_cut_cost_nothing(
    private_valkey: ValkeyServer, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """Those of the worker and of the producer, while both are busy and the worker holds claimed jobs."""
    witness, broker = Witness(tmp_path / "witness"), private_valkey.url()
    with producing(broker, postgres_url) as app:
        worker = start_worker(broker, postgres_url).ready()
        ids = enqueue(app, tmp_path / "witness", 100, seconds=0.01)
        more: set[str] = set()
        busy = threading.Thread(
            target=lambda: more.update(enqueue(app, tmp_path / "witness", 100, seconds=0.01))
        )
        busy.start()
        with private_valkey.client() as client:
            for done in (20, 60, 100, 140, 180):
                wait_until(
                    lambda done=done: len(witness.ends()) >= done,
                    within=LONG,
                    saying=f"{done} jobs came to an end",
                )
                client.client_kill_filter(_type="normal", skipme=True)
        busy.join(LONG)
        ids |= more
        assert len(ids) == 200
        all_completed(app, 200)
        exactly_once(witness, ids)
        assert worker.running
        assert {job.try_count for job in by_id(app).values()} == {1}


def test_ledger_connections_that_are_cut_cost_nothing(
    redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """A claim whose answer was lost is given back; an outcome whose answer was lost is written once."""
    witness = Witness(tmp_path / "witness")
    with producing(redis_url, postgres_url) as app, connect(postgres_url) as administrator:
        worker = start_worker(redis_url, postgres_url).ready()
        ids = enqueue(app, tmp_path / "witness", 200, seconds=0.01)
        for done in (20, 50, 80, 110, 140, 170):
            wait_until(
                lambda done=done: len(witness.ends()) >= done,
                within=LONG,
                saying=f"{done} jobs came to an end",
            )
            _cut_everybody_off(administrator, postgres_url)
        wait_until(
            lambda: administrator.execute(_COMPLETED).fetchone() == (200,),
            within=LONG,
            saying="200 jobs are completed",
        )
        exactly_once(witness, ids)
        assert worker.running
        assert administrator.execute("SELECT max(try_count) FROM background_jobs").fetchone() == (1,)


_COMPLETED = "SELECT count(*) FROM background_jobs WHERE state = 'completed'"
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


def _cut_everybody_off(administrator: Any, database: str) -> None:
    administrator.execute(_CUT, (make_url(database).database,))
