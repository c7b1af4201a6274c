"""A call that is prepared becomes a job in the caller's hands: nothing is written, nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery.signals import before_task_publish

import tests.jobs  # noqa: F401  # its tasks
from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_together
from celeriac.enqueue.prepare import prepare
from celeriac.enqueue.write import write
from celeriac.errors import BadArgument, UnknownTask
from celeriac.operate.job import jobs
from celeriac.settings.platform import Settings
from celeriac.task.task import Task
from tests.apps import build


@pytest.fixture
def app(redis_url: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    app = build(Settings(task_modules=("tests.jobs",)), set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def echo(app: Celeriac) -> Any:
    return app.tasks["tests.echo"]


def messages(app: Celeriac, queue: str) -> int:
    with app.connection_for_write() as connection:
        return int(connection.default_channel.client.llen(queue))


def test_a_prepared_job_is_written_by_its_caller_alone(app: Celeriac, echo: Any) -> None:
    job = prepare(app, echo, (1,), {"x": 2}, {"priority": "high", "user_id": "u"})
    assert (job.job_type, job.queue, job.user_id) == (echo.name, "high", "u")
    assert not jobs(app=app)
    assert messages(app, "high") == 0
    assert write(app, [job]).new == 1
    (found,) = jobs(app=app)
    assert (found.id, found.args, found.kwargs) == (str(job.id), [1], {"x": 2})
    assert messages(app, "high") == 1


def test_a_block_that_captures_does_not_see_what_is_prepared(app: Celeriac, echo: Any) -> None:
    with enqueue_together(app=app):
        echo.delay(1)
        prepare(app, echo, (2,))
    assert [found.args for found in jobs(app=app)] == [[1]]


def test_how_its_message_is_sent_is_not_asked(app: Celeriac, echo: Any) -> None:
    with app.connection_for_write() as connection:
        assert prepare(app, echo, (1,), None, {"connection": connection}).job_type == echo.name
    assert not jobs(app=app)


def test_a_task_that_is_not_known_here_can_be_prepared_by_name(app: Celeriac) -> None:
    assert prepare(app, "newer.task", (1,)).job_type == "newer.task"
    with pytest.raises(UnknownTask):
        app.send_task("newer.task", (1,))


def test_receivers_before_the_publish_are_heard(app: Celeriac, echo: Any) -> None:
    def stamp(headers: Any = None, **_: Any) -> None:
        headers["tenant"] = "acme"

    before_task_publish.connect(stamp)
    try:
        assert prepare(app, echo, (1,)).headers["tenant"] == "acme"
    finally:
        before_task_publish.disconnect(stamp)


def _nothing() -> None:
    pass


class _Once(Task):
    """Its job is enqueued already."""

    abstract = True

    def apply_async(self, *_: Any, **__: Any) -> Any:
        return self.AsyncResult("018f0000-0000-7000-8000-000000000001")


def test_an_apply_async_that_enqueues_nothing_is_named(app: Celeriac) -> None:
    task = app.task(base=_Once, name="tests.once", shared=False)(_nothing)
    with pytest.raises(BadArgument, match="enqueues no job"):
        prepare(app, task)
