"""Task ids that are no UUID on real workers: the text is the id that tasks, results and callers see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery, chain, chord

from celeriac.application import Celeriac
from celeriac.errors import JobNotFound
from celeriac.ids import parse_row_id
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job, cancel, job
from tests.producers import producing
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine
IMPATIENT: dict[str, Any] = {"heartbeat": 0.3, "worker_timeout": 1.5, "retry_base": 0.05}

Start = Callable[..., Worker]


def ended(app: Celeriac, id: str) -> Job:
    wait_until(lambda: _is_terminal(app, id), within=LONG, saying=f"{id} has ended")
    return job(id, app=app)


def _is_terminal(app: Celeriac, id: str) -> bool:
    try:
        return job(id, app=app).is_terminal
    except JobNotFound:
        return False


def start(start_worker: Start, redis_url: str, postgres_url: str) -> Worker:
    return start_worker(redis_url, postgres_url, concurrency=3, settings=IMPATIENT).ready()


@pytest.fixture(scope="module")
def worker(start_module_worker: Start, module_redis_url: str, module_postgres_url: str) -> Worker:
    return start(start_module_worker, module_redis_url, module_postgres_url)


@pytest.fixture(scope="module")
def producer(module_redis_url: str, module_postgres_url: str) -> Iterator[Celeriac]:
    with producing(module_redis_url, module_postgres_url) as app:
        yield app


@pytest.fixture
def plain(module_redis_url: str) -> Iterator[Celery]:
    """A producer that knows no ledger, and waits for results in Redis."""
    url = module_redis_url
    with closing(Celery("plain", broker=url, backend=url, set_as_current=False)) as made:
        yield made


def test_a_task_and_its_caller_see_the_text(producer: Celeriac, worker: Worker, tmp_path: Path) -> None:
    tasks, path = producer.tasks, str(tmp_path / "witness")
    given = tasks["tests.add"].apply_async((1, 2), task_id="order 7/ü")
    assert (given.id, given.get(timeout=LONG), given.state) == ("order 7/ü", 3, "SUCCESS")
    found = ended(producer, "order 7/ü")
    assert (found.result, found.task_id, found.id) == (3, "order 7/ü", str(parse_row_id("order 7/ü")))

    tasks["tests.witness"].apply_async((path,), task_id="seen-7")
    ended(producer, "seen-7")
    assert dict(Witness(path).ends()) == {"seen-7": 1}
    failed_once = tasks["tests.flaky"].apply_async((1,), task_id="retried-7")
    asked_once = tasks["tests.retry_with"].apply_async((1,), task_id="asked-7")
    replaced = tasks["tests.become"].apply_async(("chain",), task_id="replaced-7")
    assert [one.get(timeout=LONG) for one in (failed_once, asked_once, replaced)] == [1, 2, 6]
    assert [ended(producer, id).try_count for id in ("retried-7", "asked-7")] == [2, 2]
    lost = tasks["tests.kill_once"].apply_async(task_id="lost-7")
    assert lost.get(timeout=LONG) == 1
    assert [one.kind for one in ended(producer, "lost-7").attempts] == ["lost"]


def test_members_of_a_canvas_have_such_ids(producer: Celeriac, worker: Worker) -> None:
    add, total = producer.tasks["tests.add"], producer.tasks["tests.total"]
    steps = [
        add.s(1, 2).set(task_id="step-1"),
        add.s(3).set(task_id="step-2"),
        add.s(4).set(task_id="step-3"),
    ]
    result = chain(*steps).apply_async()
    assert (result.id, result.parent.id, result.get(timeout=LONG)) == ("step-3", "step-2", 10)
    rows = [ended(producer, f"step-{number}") for number in (1, 2, 3)]
    assert [row.parent_id for row in rows] == [None, rows[0].id, rows[1].id]
    assert {row.root_id for row in rows} == {rows[0].id}

    members = [add.s(number, 0).set(task_id=f"part-{number}") for number in (1, 2, 3)]
    joined = chord(members, total.s().set(task_id="sum-7")).apply_async(task_id="sum-7")
    assert (joined.id, joined.get(timeout=LONG)) == ("sum-7", 6)
    assert ended(producer, "sum-7").result == 6
    assert {ended(producer, f"part-{number}").group_id for number in (1, 2, 3)} != {None}


def test_a_cancel_reaches_a_running_job(producer: Celeriac, worker: Worker, tmp_path: Path) -> None:
    hang, witness = producer.tasks["tests.hang"], Witness(tmp_path / "witness")
    ids = ["by ledger", "by revoke"]
    results = [hang.apply_async((False, witness.path), task_id=id.replace(" ", "-")) for id in ids]
    wait_until(lambda: len(witness.starts()) == 2, within=LONG, saying="both run")
    cancel("by-ledger", hard=True, app=producer)
    results[1].revoke(terminate=True)
    assert {ended(producer, one.id).state for one in results} == {JobState.CANCELLED}
    waits = hang.apply_async(countdown=3600, task_id="waits-7")
    producer.control.revoke("waits-7")
    assert (job("waits-7", app=producer).state, waits.state) == (JobState.CANCELLED, "REVOKED")


def test_a_plain_producer_waits_for_its_text(plain: Celery, producer: Celeriac, worker: Worker) -> None:
    hexadecimal = uuid4().hex
    first = plain.send_task("tests.add", (1, 2), queue="normal", task_id="foreign-7")
    second = plain.send_task("tests.retry_with", (1,), queue="normal", task_id=hexadecimal)
    third = plain.send_task("tests.flaky", (1,), queue="normal", task_id="foreign-8")
    assert [one.get(timeout=LONG) for one in (first, second, third)] == [3, 2, 1]
    assert (ended(producer, "foreign-7").result, ended(producer, "foreign-8").try_count) == (3, 2)
    assert ended(producer, hexadecimal).task_id == hexadecimal


def test_a_message_that_is_sent_again_has_the_text(
    start_worker: Start, redis_url: str, postgres_url: str, tmp_path: Path
) -> None:
    """Its worker dies with it, and Redis forgets what waits."""
    with producing(redis_url, postgres_url) as producer:
        _sent_again(producer, start_worker, redis_url, postgres_url, Witness(tmp_path / "witness"))


def _sent_again(
    producer: Celeriac, start_worker: Start, redis_url: str, postgres_url: str, witness: Witness
) -> None:
    task = producer.tasks["tests.witness"]
    task.apply_async((witness.path,), task_id="forgotten-7")
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.flushdb()
    first = start(start_worker, redis_url, postgres_url)
    task.apply_async((witness.path, 5), task_id="held-7")
    wait_until(lambda: witness.starts()["held-7"], within=LONG, saying="it runs")
    first.kill()
    start(start_worker, redis_url, postgres_url)
    assert [ended(producer, id).state for id in ("forgotten-7", "held-7")] == [JobState.COMPLETED] * 2
    assert dict(witness.ends()) == {"forgotten-7": 1, "held-7": 1}
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.flushdb()
    assert producer.AsyncResult("held-7").get(timeout=LONG) is None
    assert producer.AsyncResult("held-7").state == "SUCCESS"
