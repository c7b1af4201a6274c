"""``-P burst`` with results kept: they travel with the outcome, into the row and then into the store."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from celery import chord, group
from celery.result import AsyncResult
from sqlalchemy import func, select

import tests.burst_jobs  # noqa: F401  # the producer knows the tasks, too
from celeriac.application import Celeriac
from celeriac.events import Event
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from tests.producers import producing
from tests.scrape import scraped
from tests.servers import ValkeyServer, free_port
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine

#: Longer than what travels with the outcome.
LONG_ONE = {"times": 9000}

#: JSON of any kind, also what kombu writes for other types, and what is too long for its way.
VALUES: list[Any] = [
    None,
    True,
    7,
    1.5,
    "ü\u0000\U0001f600 \"'\\",
    [],
    {"a": [1, {"b": None}]},
    LONG_ONE,
]


def worker(start: Callable[..., Worker], *where: str, pool: str = "burst", **options: Any) -> Worker:
    return start(*where, pool=pool, include="tests.jobs,tests.burst_jobs", **options).ready()


def completed(app: Celeriac, count: int) -> None:
    def ended() -> bool:
        with app.database.reading() as connection:
            done = select(func.count()).where(JOBS.c.state == JobState.COMPLETED)
            return bool(connection.execute(done.select_from(JOBS)).scalar_one() == count)

    wait_until(ended, within=LONG, saying=f"{count} jobs are completed")


def results(app: Celeriac) -> dict[str, Any]:
    """What the rows say of results."""
    with app.database.reading() as connection:
        return {str(row.id): row.result for row in connection.execute(select(JOBS.c.id, JOBS.c.result))}


def calls(app: Celeriac, values: list[Any], *rest: Any) -> list[str]:
    made = group(app.tasks["tests.value_of"].s(value, *rest) for value in values).apply_async()
    return [str(each.id) for each in made]


def expected(value: Any) -> Any:
    return "x" * value["times"] if isinstance(value, dict) and "times" in value else value


def stored(app: Celeriac, id: str) -> dict[str, Any]:
    raw = app.backend.client.get(app.backend.get_key_for_task(id))
    found: dict[str, Any] = json.loads(raw) if raw else {}
    return found


def all_stored(app: Celeriac, ids: list[str]) -> None:
    def are() -> bool:
        return all(stored(app, id).get("status") == "SUCCESS" for id in ids)

    wait_until(are, within=LONG / 2, saying="all results are stored")


def test_who_has_a_result_finds_a_row_that_is_completed(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    port = free_port()
    worker(start_worker, redis_url, postgres_url, settings={"health_port": port})
    for _ in range(5):
        values = VALUES * 20
        waited = [AsyncResult(id, app=producer) for id in calls(producer, values)]
        for value, each in zip(values, waited, strict=True):
            assert each.get(timeout=LONG) == expected(value)
            if value != LONG_ONE:  # which the child stores itself, since it is long
                assert json.loads(results(producer)[each.id]) == value
    completed(producer, 5 * len(values))
    assert scraped(port)["celeriac_worker_lean_attempts_total", ()] >= len(values)


def test_a_statement_that_is_sent_piece_by_piece_is_answered(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    port = free_port()
    started = start_worker(
        *(redis_url, postgres_url),
        pool="burst",
        include="tests.small_buffers,tests.jobs,tests.burst_jobs",
        settings={"health_port": port},
    ).ready()
    ids = calls(producer, [{"times": 3500}] * 200)
    completed(producer, len(ids))
    all_stored(producer, ids)
    assert scraped(port)["celeriac_worker_lean_attempts_total", ()] >= len(ids) / 2
    assert Event.NO_EXCHANGE.partition("%")[0] not in started.log


def test_sqlite_has_the_result_of_who_has_it(
    redis_url: str, sqlite_url: str, start_worker: Callable[..., Worker]
) -> None:
    """There the ledger thread records all outcomes."""
    with producing(redis_url, sqlite_url) as producer:
        worker(start_worker, redis_url, sqlite_url)
        ids = calls(producer, VALUES * 20)
        for value, id in zip(VALUES * 20, ids, strict=True):
            assert AsyncResult(id, app=producer).get(timeout=LONG) == expected(value)
            if value != LONG_ONE:
                assert json.loads(results(producer)[id]) == value
        all_stored(producer, ids)


def test_what_is_stored_is_what_prefork_stores(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    found: dict[str, list[dict[str, Any]]] = {}
    for pool in ("prefork", "burst"):
        one = worker(start_worker, redis_url, postgres_url, pool=pool, settings={"max_tries": 1})
        made = group(producer.tasks["tests.value_of"].s(value) for value in VALUES).apply_async()
        assert made.get(timeout=LONG) == [expected(value) for value in VALUES]
        metas = [stored(producer, each.id) for each in made]
        lives = [producer.backend.client.ttl(producer.backend.get_key_for_task(each.id)) for each in made]
        assert all(86_000 < each <= 86_400 for each in lives)
        for meta, each in zip(metas, made, strict=True):
            assert (meta.pop("task_id"), meta.pop("group_id")) == (each.id, made.id)
            assert meta.pop("date_done")
        found[one._argv[one._argv.index("-P") + 1]] = metas
        one.term()
        assert one.wait(LONG) == 0
    prefork, burst = found.values()
    assert burst == prefork


def test_a_child_that_is_killed_takes_no_result_with_it(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    count, kills = 2_000, 0
    started = worker(start_worker, redis_url, postgres_url)
    ids = calls(producer, list(range(count)), 0.0005)

    def done(enough: int) -> bool:
        with producer.database.reading() as connection:
            ended = select(func.count()).select_from(JOBS).where(JOBS.c.state == JobState.COMPLETED)
            return bool(connection.execute(ended).scalar_one() >= enough)

    for enough in range(count // 10, count, count // 10):
        wait_until(partial(done, enough), within=LONG, saying=f"{enough} jobs are done")
        with suppress(ProcessLookupError):
            alive = wait_until(started.children, within=LONG, saying="a child is there")
            os.kill(alive[kills % len(alive)], signal.SIGKILL)
            kills += 1
    completed(producer, count)
    assert kills >= 5
    found = results(producer)
    assert [json.loads(found[id]) for id in ids] == list(range(count))
    all_stored(producer, ids)


def test_a_result_store_that_is_frozen_holds_nothing_up(
    producer: Celeriac,
    redis_url: str,
    postgres_url: str,
    start_worker: Callable[..., Worker],
    private_valkey: ValkeyServer,
) -> None:
    settings = {"CELERY_RESULT_BACKEND": private_valkey.url()}
    worker(start_worker, redis_url, postgres_url, settings=settings)
    calls(producer, [0] * 50)
    completed(producer, 50)
    private_valkey.freeze()
    ids = calls(producer, list(range(500)))
    completed(producer, 550)
    found = results(producer)
    assert [json.loads(found[id]) for id in ids] == list(range(500))


def test_what_hears_of_the_end_finds_the_result(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """A chord that counts its members, and a method that is called in the child."""
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url)
    value_of = producer.tasks["tests.value_of"]
    assert chord([value_of.s(n) for n in range(20)], value_of.s())().get(timeout=LONG) == list(range(20))
    heard = [producer.tasks["tests.heard"].delay(path) for _ in range(20)]
    assert {each.get(timeout=LONG) for each in heard} == {path}
    completed(producer, 41)
    assert Witness(path).count("SUCCESS") == {each.id: 1 for each in heard}


def test_what_completes_its_job_itself_has_its_result_stored(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    worker(start_worker, redis_url, postgres_url)
    made = [producer.tasks["tests.books"].delay(number) for number in range(10)]
    all_stored(producer, [each.id for each in made])
    assert [stored(producer, each.id)["result"] for each in made] == [f"booked {n}" for n in range(10)]
    assert [json.loads(results(producer)[each.id]) for each in made] == list(range(10))
