"""What docs/adopting.md says of the differences from plain Celery, where no other test does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import redis

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.operate.job import job
from tests.support import PATIENCE, wait_until
from tests.workers import Worker

LONG = 30.0  # seconds: more than anything here takes, on a busy machine

Start = Callable[..., Worker]


def test_a_call_subscribes_to_nothing_and_get_does(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start
) -> None:
    with closing(redis.Redis.from_url(redis_url)) as client, ThreadPoolExecutor() as threads:
        result = producer.tasks["tests.add"].delay(1, 2)
        channel = producer.backend.get_key_for_task(result.id)
        assert client.pubsub_numsub(channel) == [(channel, 0)]
        value = threads.submit(result.get, timeout=LONG * PATIENCE)
        wait_until(
            lambda: client.pubsub_numsub(channel) == [(channel, 1)], within=LONG, saying=".get() listens"
        )
        start_worker(redis_url, postgres_url, pool="solo").ready()
        assert value.result(LONG * PATIENCE) == 3


def test_reject_with_requeue_and_retry_each_use_up_a_try(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start
) -> None:
    start_worker(redis_url, postgres_url, pool="solo").ready()
    id = producer.tasks["tests.reject_then_retry"].apply_async(max_tries=3).id
    wait_until(lambda: job(id, app=producer).is_terminal, within=LONG, saying=f"{id} has ended")
    found = job(id, app=producer)
    assert (found.state, found.try_count) == (JobState.FAILED, 3)
    kinds = [attempt.kind for attempt in found.attempts]
    assert kinds == [AttemptKind.REJECTED, AttemptKind.ERROR, AttemptKind.ERROR]


def test_inspect_says_lists_and_what_is_acknowledged_at_its_end(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Start
) -> None:
    worker = start_worker(redis_url, postgres_url, concurrency=1, options=["-Q", "default,gpu"]).ready()
    id = producer.tasks["tests.hang"].apply_async(queue="gpu", priority="high").id
    inspect = producer.control.inspect([worker.node], timeout=5)
    wait_until(lambda: (inspect.active() or {}).get(worker.node), within=LONG, saying="it runs")
    (running,) = inspect.active()[worker.node]
    assert (running["id"], running["acknowledged"]) == (id, False)
    assert running["delivery_info"]["routing_key"] == "gpu.high"
    assert running["delivery_info"]["priority"] == 20
    drawn = inspect.active_queues()[worker.node]
    assert [each["name"] for each in drawn] == [each["routing_key"] for each in drawn]
    levels = ("critical", "high", "normal", "low")
    assert {each["name"] for each in drawn} == {*levels, *(f"gpu.{level}" for level in levels)}
    assert {each["exchange"]["name"] for each in drawn} == {""}
    producer.control.revoke(id, terminate=True)
    wait_until(lambda: job(id, app=producer).is_terminal, within=LONG, saying=f"{id} has ended")
