"""Jobs in the caller's own transaction."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session

from app.application import Celeriac
from app.errors import AnotherDatabase, BadArgument
from app.factory import build
from app.ledger.models import BackgroundJob
from app.settings import Settings
from app.transactions import complete_in, enqueue_in


@pytest.fixture
def platform(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    app = build(Settings(), name="transactions", set_as_current=False)

    @app.task(name="tests.book", shared=False)
    def book(number: int) -> int:
        return number

    yield app
    app.database.close()


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
            result = platform.tasks["tests.book"].delay(1)
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
        platform.tasks["tests.book"].apply_async((1,), session=session)
        session.rollback()
        session.execute(text("INSERT INTO orders VALUES (1)"))
        session.commit()
    assert rows(platform) == {}
    assert waiting(platform, redis_url) == 0


def test_a_savepoint_takes_only_its_own_jobs_back(platform: Celeriac, engine: Engine) -> None:
    with Session(engine) as session, enqueue_in(session, app=platform):
        kept = platform.tasks["tests.book"].delay(1)
        savepoint = session.begin_nested()
        platform.tasks["tests.book"].delay(2)
        savepoint.rollback()
        session.commit()
    assert set(rows(platform)) == {kept.id}


def test_outside_the_block_jobs_are_accepted_at_once(platform: Celeriac, engine: Engine) -> None:
    with Session(engine) as session:
        with enqueue_in(session, app=platform):
            pass
        result = platform.tasks["tests.book"].delay(1)
        session.rollback()
    assert set(rows(platform)) == {result.id}


def test_a_session_of_another_database_is_refused(
    platform: Celeriac, engine: Engine, tmp_path: object
) -> None:
    other = create_engine(f"sqlite:///{tmp_path}/other.db")
    with Session(other) as session, pytest.raises(AnotherDatabase, match="not the ledger's"):
        platform.tasks["tests.book"].apply_async((1,), session=session)
    other.dispose()
    assert rows(platform) == {}


def test_an_async_session_wants_an_async_block(platform: Celeriac) -> None:
    with pytest.raises(BadArgument, match="async with"):
        enqueue_in(object(), app=platform).__enter__()  # type: ignore[arg-type]


def test_completing_outside_of_a_job_is_refused(platform: Celeriac, engine: Engine) -> None:
    with Session(engine) as session, pytest.raises(BadArgument, match="no running job"):
        complete_in(session, app=platform)


def test_ids_are_known_before_the_commit(platform: Celeriac, engine: Engine) -> None:
    wanted = str(uuid4())
    with Session(engine) as session, enqueue_in(session, app=platform):
        result = platform.tasks["tests.book"].apply_async((1,), task_id=wanted)
        assert result.id == wanted
        assert UUID(result.id)
    assert rows(platform) == {}
