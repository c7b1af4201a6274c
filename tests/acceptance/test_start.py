"""How a worker starts: with little in memory, which its children share, and without waiting for answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from celeriac.application import Celeriac
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.workers import Worker

#: What neither a worker nor its children need.
HEAVY = {"alembic", "sqlalchemy.orm", "redbeat", "celeriac.schedules.scheduler", "celeriac.console"}

_SECOND = 0.9  # that Celery waits for answers


@pytest.fixture
def app(redis_url: str, sqlite_url: str) -> Iterator[Celeriac]:
    with closing(build(Settings(broker_url=redis_url, database_url=sqlite_url), set_as_current=False)) as app:
        yield app


def test_children_share_what_was_there_before_them(
    app: Celeriac,
    redis_url: str,
    sqlite_url: str,
    start_worker: Callable[..., Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_EXEC", "1")  # a fork of the tests' Python has imported everything
    start_worker(redis_url, sqlite_url, include="tests.async_jobs").ready()
    app.conf.celeriac_foreign_tasks = ["tests.*"]
    facts = app.send_task("tests.process_facts").get(timeout=60)
    assert facts["frozen"] > 10_000  # objects; an interpreter alone has none
    assert HEAVY & {*facts["modules"]} == set()


def hello(app: Celeriac) -> tuple[object, float]:
    """What a worker that starts is told by the others, and the seconds that it waits for that."""
    with app.connection_for_read() as connection:
        connection.connect()
        begin = time.monotonic()
        answer = app.control.inspect(timeout=1.0, connection=connection).hello("new@here", [])
        return answer, time.monotonic() - begin


def test_who_is_alone_waits_for_nobody(app: Celeriac) -> None:
    answer, seconds = hello(app)
    assert answer == {}
    assert seconds < _SECOND


def test_another_worker_is_asked_what_it_knows_of_foreign_jobs(app: Celeriac) -> None:
    with app.connection_for_write() as connection:
        box = app.control.mailbox.Node("other@here", channel=connection.default_channel)
        with closing(box.listen()):
            answer, seconds = hello(app)
    assert answer is None  # it does not answer
    assert seconds >= _SECOND


def test_where_nothing_is_foreign_nobody_is_asked(redis_url: str, sqlite_url: str) -> None:
    settings = Settings(broker_url=redis_url, database_url=sqlite_url, adopt_foreign=False)
    with closing(build(settings, set_as_current=False)) as app, app.connection_for_write() as connection:
        box = app.control.mailbox.Node("other@here", channel=connection.default_channel)
        with closing(box.listen()):
            assert hello(app)[0] == {}
