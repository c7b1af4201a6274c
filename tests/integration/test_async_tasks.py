"""Tasks that are an ``async def``: jobs like all others, whose coroutines know whose attempt they are."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import closing
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, Task
from celery.signals import task_prerun

from celeriac import Celeriac
from celeriac.coroutines import ATTEMPT
from celeriac.errors import BadArgument
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job
from celeriac.testing import Kit


@pytest.fixture
def celeriac_app() -> Iterator[Celeriac]:
    with closing(Celeriac("asynchronous", set_as_current=False)) as app:
        yield app


def ended(kit: Kit, id: str) -> Job:
    """The job, after all its attempts."""
    for _ in range(4):
        kit.drain()
        kit.travel(timedelta(hours=2))
    return next(job for job in kit.jobs() if str(job.id) == id)


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def test_its_result_is_what_the_coroutine_returns(celeriac: Kit) -> None:
    task = celeriac.app.task(shared=False, name="tests.double")(double)
    assert ended(celeriac, task.delay(4).id).result == 8
    with pytest.raises(TypeError, match="value"):
        task.delay()  # its arguments are checked as those of a function


def test_its_request_is_that_of_its_job_in_all_that_it_starts(celeriac: Kit) -> None:
    seen: list[Any] = []

    @celeriac.app.task(shared=False, name="tests.who", bind=True)
    async def who(self: Task[Any, Any]) -> None:
        async def child() -> None:
            seen.append((self.request.id, self.request.retries, celeriac.app.current_worker_task.name))

        await asyncio.gather(child(), child())
        await asyncio.to_thread(lambda: seen.append((self.request.id, self.request.retries, self.name)))

    ids = [who.delay().id for _ in range(2)]
    celeriac.drain()
    assert seen == [(id, 0, "tests.who") for id in ids for _ in range(3)]
    assert (who.request.id, ATTEMPT.get()) == (None, None)  # nothing is left behind


def test_it_fails_and_tries_again_as_a_function_does(celeriac: Kit) -> None:
    @celeriac.app.task(shared=False, name="tests.fails_once", bind=True, max_tries=3)
    async def fails_once(self: Task[Any, Any]) -> int:
        await asyncio.sleep(0)
        if self.request.retries == 0:
            raise ValueError("the first attempt")
        if self.request.retries == 1:
            raise self.retry(countdown=1)
        return int(self.request.retries)

    job = ended(celeriac, fails_once.delay().id)
    assert (job.result, job.try_count) == (2, 3)


def test_autoretry_sees_what_the_coroutine_raises(celeriac: Kit) -> None:
    @celeriac.app.task(shared=False, name="tests.auto", bind=True, autoretry_for=(KeyError,), max_retries=1)
    async def auto(self: Task[Any, Any], kind: str) -> int:
        await asyncio.sleep(0)
        if self.request.retries == 0:
            raise {"key": KeyError, "value": ValueError}[kind]("no")
        return int(self.request.retries)

    assert ended(celeriac, auto.delay("key").id).result == 1
    job = ended(celeriac, auto.delay("value").id)
    assert (job.state, job.try_count) == (JobState.FAILED, 1)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
def test_whatever_it_raises_fails_it_alone(celeriac: Kit, error: BaseException) -> None:
    @celeriac.app.task(shared=False, name="tests.raises", max_tries=1)
    async def raises() -> None:
        raise error

    task = celeriac.app.task(shared=False, name="tests.double")(double)
    failing, good = raises.delay(), task.delay(1)
    assert ended(celeriac, failing.id).state is JobState.FAILED
    assert ended(celeriac, good.id).result == 2


def test_what_a_job_leaves_behind_cannot_end_the_loop(celeriac: Kit) -> None:
    @celeriac.app.task(shared=False, name="tests.leaves")
    async def leaves() -> None:
        asyncio.get_running_loop().call_soon(sys.exit)

    task = celeriac.app.task(shared=False, name="tests.double")(double)
    first, second = leaves.delay(), task.delay(1)
    celeriac.drain()
    assert [job.state for job in celeriac.jobs()] == [JobState.COMPLETED] * 2
    assert {str(job.id) for job in celeriac.jobs()} == {first.id, second.id}


def test_jobs_that_it_enqueues_are_its_own(celeriac: Kit) -> None:
    task = celeriac.app.task(shared=False, name="tests.double")(double)

    @celeriac.app.task(shared=False, name="tests.parent")
    async def parent() -> list[str]:
        both = await asyncio.gather(task.adelay(1), task.adelay(2))
        return [each.id for each in both] + [task.delay(3).id]

    id = parent.delay().id
    job = ended(celeriac, id)
    children = [each for each in celeriac.jobs() if str(each.id) != id]
    assert sorted(str(each.id) for each in children) == sorted(job.result)
    assert {str(each.parent_id) for each in children} == {str(each.root_id) for each in children} == {id}


def test_context_variables_of_the_attempt_reach_it(celeriac: Kit) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")

    def bind(**_: Any) -> None:
        tenant.set("7")

    task_prerun.connect(bind)
    try:

        @celeriac.app.task(shared=False, name="tests.tenant")
        async def read() -> str:
            return tenant.get()

        assert ended(celeriac, read.delay().id).result == "7"
    finally:
        task_prerun.disconnect(bind)


def test_a_direct_call_is_awaited_in_a_loop_and_run_outside_of_one(celeriac: Kit) -> None:
    task = celeriac.app.task(shared=False, name="tests.double")(double)

    @celeriac.app.task(shared=False, name="tests.outer")
    async def outer() -> int:
        return int(await task(5))

    async def called() -> int:
        return int(await task(2))

    async def drained() -> None:
        task.delay(7)
        celeriac.drain()  # runs jobs in a thread that has a loop

    asyncio.run(drained())
    assert [job.result for job in celeriac.jobs()] == [14]
    assert (task(1), asyncio.run(called()), task.apply((3,)).get()) == (2, 4, 6)
    assert ended(celeriac, outer.delay().id).result == 10


def test_classes_and_shared_tasks_may_be_asynchronous(celeriac: Kit) -> None:
    class Body(Task):  # on Celery's own class
        name = "tests.body"

        async def run(self, value: int) -> str:
            return f"{value} of {self.request.id}"

    task = celeriac.app.register_task(Body)
    id = task.delay(1).id
    assert ended(celeriac, id).result == f"1 of {id}"
    other = Celery("other", set_as_current=False)
    for app in (other, celeriac.app):  # what shared_task does in each app
        app._task_from_fun(double, name="tests.shared_async")
    id = celeriac.app.send_task("tests.shared_async", (4,)).id
    assert ended(celeriac, id).result == 8


async def many() -> Any:
    yield 1


def test_one_that_yields_is_refused_where_it_is_declared(celeriac: Kit) -> None:
    for decorate in (celeriac.app.task, celeriac.app.task(shared=False)):
        with pytest.raises(BadArgument, match=r"many.* that yields cannot be a task"):
            decorate(many)
    with pytest.raises(BadArgument, match=r"tests.many: an `async def` that yields"):
        celeriac.app._task_from_fun(many, name="tests.many")
    body = type("Body", (Task,), {"run": many, "name": "tests.body"})
    with pytest.raises(BadArgument, match=r"tests.body: an `async def` that yields"):
        celeriac.app.register_task(body)
