"""Jobs in the caller's own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from celery._state import pop_current_task, push_current_task
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.enqueue.transactions import complete_in, enqueue_in
from celeriac.errors import AnotherDatabase, AttemptTaken, BadArgument
from celeriac.headers import STAMP
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.metadata.mapped import BackgroundJob
from celeriac.ledger.writes import claims, outcomes
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.support import wait_until


@contextmanager
def built(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    app = build(Settings(), name="transactions", set_as_current=False)

    @app.task(name="tests.order", shared=False)
    def book(number: int) -> int:
        return number

    yield app
    app.database.close()


@pytest.fixture
def platform(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    with built(redis_url, database_url, monkeypatch) as app:
        yield app


@pytest.fixture
def engine(platform: Celeriac) -> Iterator[Engine]:
    engine = create_engine(platform.settings.database)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


def rows(platform: Celeriac) -> dict[str, BackgroundJob]:
    with Session(platform.database.engine) as session:
        return {str(row.id): row for row in session.scalars(select(BackgroundJob))}


def waiting(platform: Celeriac, redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as client:
        return int(client.llen("normal"))


def test_a_commit_accepts_the_job_and_sends_it(platform: Celeriac, engine: Engine, redis_url: str) -> None:
    with Session(engine) as session:
        with enqueue_in(session, app=platform):
            result = platform.tasks["tests.order"].delay(1)
        session.execute(text("INSERT INTO orders VALUES (1)"))
        assert rows(platform) == {}
        assert waiting(platform, redis_url) == 0
        session.commit()
    assert set(rows(platform)) == {result.id}
    assert waiting(platform, redis_url) == 1


def test_a_rollback_leaves_neither_row_nor_message(
    platform: Celeriac, engine: Engine, redis_url: str
) -> None:
    with Session(engine) as session:
        platform.tasks["tests.order"].apply_async((1,), session=session)
        session.rollback()
        session.execute(text("INSERT INTO orders VALUES (1)"))
        session.commit()
    assert rows(platform) == {}
    assert waiting(platform, redis_url) == 0


def test_a_session_that_was_closed_forgets_its_jobs(
    platform: Celeriac, engine: Engine, redis_url: str
) -> None:
    session = Session(engine)
    platform.tasks["tests.order"].apply_async((1,), session=session)
    session.close()
    session.execute(text("INSERT INTO orders VALUES (1)"))
    session.commit()
    session.close()
    assert rows(platform) == {}
    assert waiting(platform, redis_url) == 0


def test_a_savepoint_takes_only_its_own_jobs_back(platform: Celeriac, engine: Engine) -> None:
    with Session(engine) as session, enqueue_in(session, app=platform):
        kept = platform.tasks["tests.order"].delay(1)
        savepoint = session.begin_nested()
        platform.tasks["tests.order"].delay(2)
        savepoint.rollback()
        session.commit()
    assert set(rows(platform)) == {kept.id}


def test_a_savepoint_that_is_released_sends_nothing_yet(
    platform: Celeriac, engine: Engine, redis_url: str
) -> None:
    with Session(engine) as session, enqueue_in(session, app=platform):
        with session.begin_nested():
            platform.tasks["tests.order"].delay(1)
        assert waiting(platform, redis_url) == 0
        session.commit()
    assert waiting(platform, redis_url) == 1


def test_a_rollback_takes_the_jobs_of_released_savepoints_along(
    platform: Celeriac, engine: Engine, redis_url: str
) -> None:
    with Session(engine) as session, enqueue_in(session, app=platform):
        session.execute(text("INSERT INTO orders VALUES (1)"))  # on SQLite, savepoints alone begin nothing
        with session.begin_nested(), session.begin_nested():
            platform.tasks["tests.order"].delay(1)
        session.rollback()
        platform.tasks["tests.order"].delay(2)
        session.commit()
    assert len(rows(platform)) == 1
    assert waiting(platform, redis_url) == 1


def test_a_commit_with_a_savepoint_open_sends_its_jobs(
    platform: Celeriac, engine: Engine, redis_url: str
) -> None:
    with Session(engine) as session, enqueue_in(session, app=platform):
        session.begin_nested()
        platform.tasks["tests.order"].delay(1)
        session.commit()  # of the savepoint, too
    assert len(rows(platform)) == 1
    assert waiting(platform, redis_url) == 1


def test_the_commit_of_a_session_in_somebody_elses_transaction_sends_nothing(
    platform: Celeriac, engine: Engine, redis_url: str
) -> None:
    with engine.begin() as outer:
        outer.execute(text("INSERT INTO orders VALUES (1)"))
        with Session(outer) as session, enqueue_in(session, app=platform):
            id = platform.tasks["tests.order"].delay(1).id
            session.commit()
        assert waiting(platform, redis_url) == 0
        assert rows(platform) == {}
    (row,) = rows(platform).values()
    assert (str(row.id), row.dispatch_count) == (id, 0)  # the dispatcher's, now that it is there
    assert waiting(platform, redis_url) == 0


def test_outside_the_block_jobs_are_accepted_at_once(platform: Celeriac, engine: Engine) -> None:
    with Session(engine) as session:
        with enqueue_in(session, app=platform):
            pass
        result = platform.tasks["tests.order"].delay(1)
        session.rollback()
    assert set(rows(platform)) == {result.id}


def test_a_session_of_another_database_is_refused(
    platform: Celeriac, engine: Engine, tmp_path: object
) -> None:
    other = create_engine(f"sqlite:///{tmp_path}/other.db")
    with Session(other) as session, pytest.raises(AnotherDatabase, match="not the ledger's"):
        platform.tasks["tests.order"].apply_async((1,), session=session)
    other.dispose()
    assert rows(platform) == {}


def test_an_async_session_wants_an_async_block(platform: Celeriac) -> None:
    with pytest.raises(BadArgument, match="async with"):
        enqueue_in(AsyncSession(), app=platform).__enter__()


def test_what_is_no_session_is_refused_by_its_type(platform: Celeriac) -> None:
    with pytest.raises(BadArgument, match="wanted a session of SQLAlchemy, found object"):
        enqueue_in(object(), app=platform).__enter__()  # type: ignore[arg-type]


def test_a_plain_session_wants_a_plain_block(platform: Celeriac, engine: Engine) -> None:
    async def block() -> None:
        with Session(engine) as session:
            async with enqueue_in(session, app=platform):
                pass

    with pytest.raises(BadArgument, match="a Session wants `with"):
        asyncio.run(block())


def test_a_scoped_session_is_the_session_of_its_thread(
    platform: Celeriac, engine: Engine, redis_url: str
) -> None:
    """As Flask-SQLAlchemy's ``db.session`` is one."""
    session = scoped_session(sessionmaker(engine))
    task = platform.tasks["tests.order"]
    with enqueue_in(session, app=platform):
        task.delay(1)
    task.apply_async((2,), session=session)
    assert enqueue_many(task, [[3]], session=session) == 1
    assert rows(platform) == {}
    session.commit()
    session.remove()
    assert len(rows(platform)) == 3
    assert waiting(platform, redis_url) == 3


def test_what_was_added_before_the_block_has_its_keys_in_it(platform: Celeriac, engine: Engine) -> None:
    class Base(DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True, default=lambda: 7)  # given by the flush

    with Session(engine) as session, session.begin():
        order = Order()
        session.add(order)
        with enqueue_in(session, app=platform):
            id = platform.tasks["tests.order"].delay(order.id).id
        assert order.id is not None
    assert job(id, app=platform).args == [7]


def test_completing_outside_of_a_job_is_refused(platform: Celeriac, engine: Engine) -> None:
    with Session(engine) as session, pytest.raises(BadArgument, match="no running job"):
        complete_in(session, app=platform)


def test_ids_are_known_before_the_commit(platform: Celeriac, engine: Engine) -> None:
    wanted = str(uuid4())
    with Session(engine) as session, enqueue_in(session, app=platform):
        result = platform.tasks["tests.order"].apply_async((1,), task_id=wanted)
        assert result.id == wanted
        assert UUID(result.id)
    assert rows(platform) == {}


# ---- sessions of an event loop


@asynccontextmanager
async def event_loops_session(platform: Celeriac) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(platform.settings.database)
    try:
        async with AsyncSession(engine) as session:
            yield session
    finally:
        await engine.dispose()


def in_event_loop(platform: Celeriac, steps: Callable[[AsyncSession], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with event_loops_session(platform) as session:
            return await steps(session)

    return asyncio.run(run())


@pytest.fixture
def on_postgresql(redis_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    """Where the ledger's own driver speaks to an event loop; SQLite would need another."""
    with built(redis_url, postgres_url, monkeypatch) as app:
        yield app


def test_an_async_commit_accepts_the_job_and_sends_it(on_postgresql: Celeriac, redis_url: str) -> None:
    async def steps(session: AsyncSession) -> str:
        async with enqueue_in(session, app=on_postgresql):
            id = on_postgresql.tasks["tests.order"].delay(1).id
        assert rows(on_postgresql) == {}
        await session.commit()
        return str(id)

    id = in_event_loop(on_postgresql, steps)
    assert set(rows(on_postgresql)) == {id}
    wait_until(lambda: waiting(on_postgresql, redis_url) == 1, within=10, saying="its message is sent")


def test_an_async_rollback_leaves_neither_row_nor_message(on_postgresql: Celeriac, redis_url: str) -> None:
    async def steps(session: AsyncSession) -> None:
        async with enqueue_in(session, app=on_postgresql):
            on_postgresql.tasks["tests.order"].delay(1)
        await session.rollback()
        async with enqueue_in(session, app=on_postgresql):
            on_postgresql.tasks["tests.order"].delay(2)
        await session.commit()

    in_event_loop(on_postgresql, steps)
    assert len(rows(on_postgresql)) == 1
    wait_until(lambda: waiting(on_postgresql, redis_url) == 1, within=10, saying="one message is sent")


def test_an_async_savepoint_takes_only_its_own_jobs_back(on_postgresql: Celeriac) -> None:
    async def steps(session: AsyncSession) -> str:
        async with enqueue_in(session, app=on_postgresql):
            kept = on_postgresql.tasks["tests.order"].delay(1).id
        savepoint = await session.begin_nested()
        async with enqueue_in(session, app=on_postgresql):
            on_postgresql.tasks["tests.order"].delay(2)
        await savepoint.rollback()
        await session.commit()
        return str(kept)

    kept = in_event_loop(on_postgresql, steps)
    assert set(rows(on_postgresql)) == {kept}


def test_a_scoped_session_of_an_event_loop_is_taken(on_postgresql: Celeriac, redis_url: str) -> None:
    async def steps(session: AsyncSession) -> None:
        scoped = async_scoped_session(async_sessionmaker(session.bind), scopefunc=asyncio.current_task)
        async with enqueue_in(scoped, app=on_postgresql):
            on_postgresql.tasks["tests.order"].delay(1)
        await scoped.commit()
        await scoped.remove()

    in_event_loop(on_postgresql, steps)
    assert len(rows(on_postgresql)) == 1


def test_an_error_in_an_async_block_writes_nothing(on_postgresql: Celeriac) -> None:
    async def steps(session: AsyncSession) -> None:
        with pytest.raises(LookupError):
            async with enqueue_in(session, app=on_postgresql):
                on_postgresql.tasks["tests.order"].delay(1)
                raise LookupError
        await session.commit()

    in_event_loop(on_postgresql, steps)
    assert rows(on_postgresql) == {}


# ---- completing the running job


@contextmanager
def attempt(platform: Celeriac, **request: Any) -> Iterator[tuple[UUID, UUID]]:
    """A job that is claimed, and its task as a child runs it: ids of job and worker."""
    job, worker = UUID(platform.tasks["tests.order"].delay(1).id), uuid4()
    with platform.database.transaction() as connection:
        assert claims.claim(connection, [job], worker=worker)[job].attempt == 1
    task = platform.tasks["tests.order"]
    stamp = {STAMP: {"attempt": 1, "worker": str(worker)}}
    task.push_request(id=str(job), called_directly=False, **stamp, **request)
    push_current_task(task)
    try:
        yield job, worker
    finally:
        pop_current_task()
        task.pop_request()


def order(session: Session) -> None:
    session.execute(text("INSERT INTO orders VALUES (1)"))


def orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM orders")).scalar_one())


def test_a_job_is_completed_with_its_own_writes(platform: Celeriac, engine: Engine) -> None:
    with attempt(platform) as (job, _), Session(engine) as session:
        order(session)
        complete_in(session, {"order": 1}, app=platform)
        session.commit()
    row = rows(platform)[str(job)]
    assert (row.state, row.result, row.worker_id) == (JobState.COMPLETED, '{"order": 1}', None)
    assert orders(engine) == 1


@pytest.mark.parametrize(
    ("given", "ignored", "kept"),
    [([], False, "lost"), ([], True, None), ([None], False, "null")],
    ids=["unsaid", "ignored", "None"],
)
def test_a_return_value_that_the_ledger_was_not_told_is_none_that_it_has(
    platform: Celeriac, engine: Engine, given: list[Any], ignored: bool, kept: str | None
) -> None:
    with attempt(platform, ignore_result=ignored) as (job, _), Session(engine) as session:
        complete_in(session, *given, app=platform)
        session.commit()
    assert rows(platform)[str(job)].result == kept


def test_none_is_lost_where_no_return_value_is_kept(platform: Celeriac, engine: Engine) -> None:
    platform.conf.result_backend = "disabled"
    with attempt(platform) as (job, _), Session(engine) as session:
        complete_in(session, app=platform)
        session.commit()
    assert rows(platform)[str(job)].result is None


def test_a_rollback_leaves_the_job_running_and_nothing_written(platform: Celeriac, engine: Engine) -> None:
    with attempt(platform) as (job, worker), Session(engine) as session:
        order(session)
        complete_in(session, app=platform)
        session.rollback()
        assert rows(platform)[str(job)].state == JobState.RUNNING
        again = Outcome(
            id=job, attempt=1, state=JobState.ERROR, failure=Failure(AttemptKind.ERROR, "ValueError")
        )
        with platform.database.transaction() as connection:
            assert outcomes.record(connection, [again], worker=worker) == {job: JobState.ERROR}
    assert orders(engine) == 0


def test_the_outcome_that_the_worker_tells_afterwards_changes_nothing(
    platform: Celeriac, engine: Engine
) -> None:
    with attempt(platform) as (job, worker), Session(engine) as session:
        complete_in(session, "kept", app=platform)
        session.commit()
    lost = Outcome(id=job, attempt=1, state=JobState.ERROR, failure=Failure(AttemptKind.LOST))
    with platform.database.transaction() as connection:
        assert outcomes.record(connection, [lost], worker=worker) == {}
    row = rows(platform)[str(job)]
    assert (row.state, row.result) == (JobState.COMPLETED, '"kept"')


def test_an_attempt_that_was_taken_away_completes_nothing(platform: Celeriac, engine: Engine) -> None:
    with attempt(platform) as (job, worker), Session(engine) as session:
        with platform.database.transaction() as connection:
            claims.release(connection, [(job, 1)], worker=worker)
            other = claims.claim(connection, [job], worker=uuid4())
        assert other[job].attempt == 1  # the same number, by another
        order(session)
        with pytest.raises(AttemptTaken, match=str(job)):
            complete_in(session, app=platform)
        session.rollback()
    assert rows(platform)[str(job)].state == JobState.RUNNING
    assert orders(engine) == 0


@pytest.mark.parametrize("successors", ["chain", "callbacks", "chord"])
def test_a_job_with_successors_is_refused(platform: Celeriac, engine: Engine, successors: str) -> None:
    request = {successors: [{"task": "tests.order"}]}
    with (
        attempt(platform, **request) as (job, _),
        Session(engine) as session,
        pytest.raises(BadArgument, match="has successors"),
    ):
        complete_in(session, app=platform)
    assert rows(platform)[str(job)].state == JobState.RUNNING
