"""The test kit, as those use it who write tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import Ignore
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.enqueue.transactions import enqueue_in
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import cancel
from celeriac.settings.platform import Settings
from celeriac.testing import Kit
from tests.apps import build

COMPLETED, ERROR, FAILED, PENDING = (
    JobState.COMPLETED,
    JobState.ERROR,
    JobState.FAILED,
    JobState.PENDING,
)


@pytest.fixture
def celeriac_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")  # nothing listens there
    monkeypatch.setenv("CELERIAC_DATA_DIR", str(tmp_path))
    app = build(Settings(task_modules=("tests.jobs",)), set_as_current=False)
    yield app
    app.close()


def task(kit: Kit, name: str) -> Any:
    return kit.app.tasks[f"tests.{name}"]


def test_what_is_enqueued_can_be_asserted(celeriac: Kit) -> None:
    task(celeriac, "echo").apply_async((1, (2, 3)), {"key": "ü"}, priority="high")
    found = celeriac.assert_enqueued("tests.echo", 1, [2, 3], key="ü")
    assert (found.queue, found.state) == ("high", PENDING)
    celeriac.assert_nothing_enqueued("tests.noop")
    with pytest.raises(AssertionError, match=r"wanted one tests.echo\(2\), found 0(.|\n)*tests.echo\(1, \[2"):
        celeriac.assert_enqueued("tests.echo", 2)
    with pytest.raises(AssertionError, match=r"found:\n  tests.echo\(1"):
        celeriac.assert_nothing_enqueued()


def test_the_same_job_twice_is_not_one(celeriac: Kit) -> None:
    for _ in range(2):
        task(celeriac, "add").delay(1, 2)
    with pytest.raises(AssertionError, match="found 2"):
        celeriac.assert_enqueued(task(celeriac, "add"), 1, 2)
    assert len(celeriac.jobs("tests.add")) == 2


def test_a_drain_runs_what_is_due_the_most_important_first(celeriac: Kit) -> None:
    for priority in ("low", "critical", "normal"):
        task(celeriac, "echo").apply_async((priority,), priority=priority)
    later = task(celeriac, "echo").apply_async(("later",), countdown=60)
    ended = celeriac.drain()
    started = sorted(ended, key=lambda job: job.started or job.queued)
    assert [job.args for job in started] == [["critical"], ["normal"], ["low"]]
    assert {job.state for job in ended} == {COMPLETED}
    assert started[0].result == [["critical"], {}]
    assert celeriac.drain() == []
    celeriac.travel(timedelta(seconds=61))
    assert [job.id for job in celeriac.drain()] == [later.id]


def test_retries_wait_for_their_time_and_end_as_dead_letters(celeriac: Kit) -> None:
    task(celeriac, "fail").apply_async(("no",), max_tries=2)
    assert celeriac.drain() == []
    (failing,) = celeriac.jobs()
    assert (failing.state, failing.try_count) == (ERROR, 1)
    assert celeriac.drain() == []
    celeriac.travel(timedelta(hours=1))
    (dead,) = celeriac.drain()
    assert (dead.state, dead.try_count) == (FAILED, 2)
    assert [attempt.kind for attempt in dead.attempts] == []  # listings have none
    assert "no" in (dead.failure_info or "")


def test_chains_groups_and_chords_go_on(celeriac: Kit) -> None:
    add, total = task(celeriac, "add"), task(celeriac, "total")
    chain(add.s(1, 2), add.s(3)).delay()
    chord([add.s(1, 1), add.s(2, 2)], total.s()).delay()
    group(add.s(5, 5), add.s(6, 6)).delay()
    celeriac.drain()
    results = [job.result for job in celeriac.jobs()]
    assert {job.state for job in celeriac.jobs()} == {COMPLETED}
    assert sorted(results) == [2, 3, 4, 6, 6, 10, 12]


def test_results_can_be_got(celeriac: Kit) -> None:
    result = task(celeriac, "add").delay(20, 22)
    celeriac.drain()
    assert result.get(timeout=1) == 42


def test_transactions_bulk_and_cancels(celeriac: Kit) -> None:
    echo = task(celeriac, "echo")
    engine = create_engine(celeriac.database.url)
    with Session(engine) as session:
        with enqueue_in(session, app=celeriac.app):
            echo.delay("never")
        session.rollback()
    engine.dispose()
    celeriac.assert_nothing_enqueued()
    enqueue_many(echo, ([n] for n in range(3)))
    cancel(celeriac.jobs()[0].id, app=celeriac.app)
    assert [job.args for job in celeriac.drain()] == [[1], [2]]


def test_no_message_leaves_after_the_commit_of_a_transaction(
    celeriac: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    """Or a test on a machine that has a broker would fill it, and one without would wait for it."""
    engine = create_engine(celeriac.database.url)
    with Session(engine) as session, session.begin(), enqueue_in(session, app=celeriac.app):
        result = task(celeriac, "echo").delay("x")
    engine.dispose()
    assert "dispatcher will send" not in caplog.text
    assert celeriac.drain()[0].id == result.id


def test_a_task_that_enqueues_itself_for_ever_ends_the_test(celeriac: Kit) -> None:
    @celeriac.app.task(name="tests.for_ever", shared=False)
    def for_ever() -> None:
        for_ever.delay()

    for_ever.delay()
    with pytest.raises(RuntimeError, match="more than 20 attempts"):
        celeriac.drain(limit=20)


def test_an_attempt_that_is_ignored_is_completed(celeriac: Kit) -> None:
    @celeriac.app.task(name="tests.ignored", shared=False)
    def ignored() -> None:
        raise Ignore

    ignored.delay()
    assert [job.state for job in celeriac.drain()] == [COMPLETED]


def test_the_app_has_its_own_ledger_again(celeriac_app: Celeriac, celeriac_template: Any) -> None:
    own = celeriac_app.database, celeriac_app.broker_state, celeriac_app.backend
    with Kit(celeriac_app, celeriac_template) as kit:
        assert celeriac_app.database is kit.database
        assert celeriac_app.backend is not own[2]
    assert (celeriac_app.database, celeriac_app.broker_state, celeriac_app.backend) == own
