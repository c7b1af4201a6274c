"""Awaited calls share a thread and a transaction, and each is answered for itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import redis
from celery.signals import before_task_publish
from sqlalchemy import func, select, text

from celeriac import Celeriac
from celeriac.enqueue.awaited.gathering_writer import GatheringWriter
from celeriac.enqueue.reused_id import Caller
from celeriac.errors import BadArgument, LedgerUnavailable
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.new_jobs import NewJob
from tests.new_jobs import new_job


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = Celeriac(
        "awaited", broker=redis_url, ledger=database_url, set_as_current=False, celeriac_enqueue_timeout=30
    )
    with closing(made):
        made.task(name="awaited.add")(add)
        yield made


def add(x: int, y: int = 0) -> int:
    return x + y


def ids(app: Celeriac) -> set[UUID]:
    with app.database.reading() as connection:
        return set(connection.execute(select(JOBS.c.id)).scalars())


def commits(app: Celeriac) -> int:
    """How many transactions have written rows that are there; PostgreSQL only."""
    with app.database.reading() as connection:
        return int(
            connection.execute(
                select(func.count(func.distinct(text("xmin::text")))).select_from(JOBS)
            ).scalar_one()
        )


async def call_at_once(app: Celeriac, count: int) -> list[str]:
    task = app.tasks["awaited.add"]
    task.apply_async  # noqa: B018  # the task is bound, as it is after the first call
    return [each.id for each in await asyncio.gather(*(task.adelay(n, y=1) for n in range(count)))]


def test_calls_that_wait_together_are_written_by_one_thread(app: Celeriac, redis_url: str) -> None:
    before = set(threading.enumerate())  # that of another test may linger
    made = asyncio.run(call_at_once(app, 250))
    assert {UUID(each) for each in made} == ids(app)
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.llen("normal") == 250
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    assert names.count("celeriac-awaited") == 1
    assert not [name for name in names if name.startswith("asyncio_")]  # of asyncio.to_thread


def test_calls_that_wait_together_share_a_commit(redis_url: str, postgres_url: str) -> None:
    with closing(
        Celeriac(
            "shares", broker=redis_url, ledger=postgres_url, set_as_current=False, celeriac_enqueue_timeout=30
        )
    ) as app:
        app.task(name="awaited.add")(add)
        asyncio.run(call_at_once(app, 250))
        assert commits(app) <= 20


def test_a_call_is_what_a_plain_call_is(app: Celeriac) -> None:
    task = app.tasks["awaited.add"]
    plain = task.delay(1, y=2)
    awaited = asyncio.run(task.adelay(1, y=2))
    assert (type(awaited), awaited.ignored) == (type(plain), plain.ignored)
    own = {"id", "root_id", "message_tag", "queued", "next_attempt_after", "dispatched", "headers"}
    with app.database.reading() as connection:
        rows = [dict(row) for row in connection.execute(select(JOBS)).mappings()]
    one, other = ({name: value for name, value in row.items() if name not in own} for row in rows)
    assert one == other
    one, other = ({**row["headers"], "id": "", "root_id": ""} for row in rows)
    assert one == other


def write_all(app: Celeriac, jobs: list[NewJob]) -> list[Any]:
    async def write() -> list[Any]:
        writer = GatheringWriter(app)
        every = (writer.write(job, Caller()) for job in jobs)
        return await asyncio.gather(*every, return_exceptions=True)

    return asyncio.run(write())


def test_one_that_is_refused_refuses_no_other(app: Celeriac) -> None:
    first = new_job()
    assert write_all(app, [first]) == [None]
    other = replace(new_job(), id=first.id, payload=b"[[1], {}, {}]")  # the same id, with another word
    jobs = [new_job(), other, new_job()]
    answers = write_all(app, jobs)
    assert [type(answer) for answer in answers] == [type(None), BadArgument, type(None)]
    assert ids(app) == {first.id, jobs[0].id, jobs[2].id}


def test_a_database_that_is_away_refuses_each(redis_url: str) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with closing(Celeriac("away", broker=redis_url, ledger=nowhere, set_as_current=False)) as app:
        answers = write_all(app, [new_job() for _ in range(5)])
        assert [type(answer) for answer in answers] == [LedgerUnavailable] * 5
        assert len({id(answer) for answer in answers}) == 5


def busy_writer(app: Celeriac) -> GatheringWriter:
    """A writer whose thread is at other calls, for ever."""
    writer = GatheringWriter(app)
    writer._at_work = True
    return writer


def test_who_waits_behind_calls_that_hang_is_refused_in_time(redis_url: str, sqlite_url: str) -> None:
    options = {"ledger": sqlite_url, "set_as_current": False, "celeriac_enqueue_timeout": 0.2}
    with closing(Celeriac("hangs", broker=redis_url, **options)) as app:

        async def write() -> None:
            writer = busy_writer(app)
            with pytest.raises(LedgerUnavailable, match="calls before this one"):
                await writer.write(new_job(), Caller())
            assert writer._waiting == []  # nobody writes it later

        asyncio.run(write())


def test_a_call_that_is_cancelled_before_its_turn_is_not_written(app: Celeriac) -> None:
    async def cancel() -> None:
        writer = busy_writer(app)
        call = asyncio.ensure_future(writer.write(new_job(), Caller()))
        await asyncio.sleep(0)
        assert len(writer._waiting) == 1
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert writer._waiting == []

    asyncio.run(cancel())
    assert ids(app) == set()


def test_code_that_may_wait_is_called_in_a_thread(app: Celeriac) -> None:
    seen: list[str] = []

    def receive(**_: Any) -> None:
        seen.append(threading.current_thread().name)

    before_task_publish.connect(receive)
    try:
        asyncio.run(call_at_once(app, 1))
    finally:
        before_task_publish.disconnect(receive)
    assert seen
    assert threading.main_thread().name not in seen
