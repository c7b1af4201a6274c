"""``await result.aget()``: as ``.get()``, while the event loop goes on and no thread is held."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NoReturn

import pytest
import redis
from celery import chain
from celery.exceptions import TaskRevokedError, TimeoutError
from celery.result import AsyncResult

from celeriac.application import Celeriac
from celeriac.operate.job import cancel
from celeriac.settings.platform import Settings
from celeriac.testing.drain import Drain
from celeriac.testing.kit import NoBroker
from tests.apps import build

SOON = 30  # seconds: far more than what is there already takes
MANY = 200


class OrderRefused(Exception):  # as authors call theirs
    """An exception of the author's own."""


@pytest.fixture
def app(redis_url: str, sqlite_url: str) -> Iterator[Celeriac]:
    settings: dict[str, Any] = {"broker_url": redis_url, "database_url": sqlite_url, "task_modules": ()}
    app = build(Settings(**settings, max_tries=1), set_as_current=False)
    app.broker_state = NoBroker()  # what is due is drained from the ledger

    @app.task(name="tests.value", shared=False)
    def value(given: Any) -> Any:
        return given

    @app.task(name="tests.refuse", shared=False)
    def refuse(text: str) -> NoReturn:
        raise OrderRefused(text)

    with closing(app):
        yield app


def drain(app: Celeriac) -> None:
    app.set_current()  # of this thread, as in a child
    Drain(app).run(limit=2 * MANY)


def flush(app: Celeriac) -> None:
    with closing(redis.Redis.from_url(str(app.conf.broker_url))) as client:
        client.flushdb()


async def meanwhile(app: Celeriac, *results: AsyncResult[Any]) -> list[Any]:
    """What those come to whose jobs run while they are awaited."""
    waiting = [asyncio.ensure_future(result.aget(timeout=SOON)) for result in results]
    await asyncio.sleep(0)
    await asyncio.to_thread(drain, app)
    return list(await asyncio.gather(*waiting, return_exceptions=True))


def test_it_is_what_the_job_returns(app: Celeriac) -> None:
    result = app.send_task("tests.value", ({"a": [1, None]},))
    assert asyncio.run(meanwhile(app, result)) == [{"a": [1, None]}]
    assert asyncio.run(app.AsyncResult(result.id).aget(timeout=SOON)) == {"a": [1, None]}


def test_it_raises_the_tasks_own_exception(app: Celeriac) -> None:
    result = app.send_task("tests.refuse", ("no such order",))
    (raised,) = asyncio.run(meanwhile(app, result))
    assert (type(raised).__name__, raised.args) == ("OrderRefused", ("no such order",))
    returned = asyncio.run(app.AsyncResult(result.id).aget(timeout=SOON, propagate=False))
    assert type(returned).__name__ == "OrderRefused"


def test_a_cancelled_job_is_known_from_the_ledger(app: Celeriac) -> None:
    result = app.send_task("tests.value", (7,))
    cancel(result.id, app=app)
    with pytest.raises(TaskRevokedError):
        asyncio.run(result.aget(timeout=SOON))


def test_a_result_that_redis_forgot_comes_from_the_ledger(app: Celeriac) -> None:
    result = app.send_task("tests.value", (7,))
    drain(app)
    flush(app)
    assert asyncio.run(app.AsyncResult(result.id).aget(timeout=SOON)) == 7


def test_a_job_that_does_not_end_in_time_says_so(app: Celeriac) -> None:
    result = app.send_task("tests.value", (7,))
    with pytest.raises(TimeoutError, match=f"job {result.id} has not ended within 0.2 s"):
        asyncio.run(result.aget(timeout=0.2))


def test_a_step_of_a_chain_whose_first_step_failed_raises_that(app: Celeriac) -> None:
    value, refuse = app.tasks["tests.value"], app.tasks["tests.refuse"]
    (raised,) = asyncio.run(meanwhile(app, chain(refuse.si("no"), value.si(1)).apply_async()))
    assert (type(raised).__name__, raised.args) == ("OrderRefused", ("no",))


def test_many_wait_without_a_thread_each(app: Celeriac) -> None:
    results = [app.send_task("tests.value", (number,)) for number in range(MANY)]
    before = threading.active_count()

    async def wait() -> tuple[list[Any], int]:
        waiting = [asyncio.ensure_future(result.aget(timeout=4 * SOON)) for result in results]
        await asyncio.sleep(0.1)
        threads = threading.active_count()
        await asyncio.to_thread(drain, app)
        return list(await asyncio.gather(*waiting)), threads

    found, threads = asyncio.run(wait())
    assert found == list(range(MANY))
    assert threads <= before + 2
