"""Task ids that are no UUID, on both databases: the row's id follows from the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID

import pytest
import redis
from celery import chain, states

import tests.jobs  # noqa: F401  # the producer knows the tasks
from celeriac.application import Celeriac
from celeriac.broker import wire
from celeriac.errors import BadArgument, JobNotFound
from celeriac.ids import parse_row_id
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import dispatch, worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.cancel import Answer
from celeriac.operate.explain import explain
from celeriac.operate.job import cancel, job
from celeriac.operate.listing import resolve
from celeriac.settings.platform import Settings
from celeriac.testing.drain import Drain
from celeriac.testing.kit import NoBroker
from celeriac.worker.counters import Meter
from celeriac.worker.duties.rescuer import Rescuer
from tests.apps import build
from tests.commands import call, told
from tests.console import Browser
from tests.support import wait_until

SOON = 10  # seconds: far more than what is there already takes
ID = "order-7"
ROW = str(parse_row_id(ID))
DEAD = WorkerStart(
    id=UUID(int=9), hostname="d", pid=1, pool="solo", concurrency=1, queues=["low"], tasks="", version="1"
)


@contextmanager
def furnished(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    known: dict[str, Any] = {"broker_url": redis_url, "database_url": database_url}
    app = build(Settings(**known, task_modules=("tests.jobs",), max_tries=2), set_as_current=False)
    with closing(app):
        yield app


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    with furnished(redis_url, database_url) as app:
        yield app


def messages(app: Celeriac) -> list[dict[str, Any]]:
    with closing(redis.Redis.from_url(str(app.conf.broker_url))) as client:
        return [json.loads(item) for item in client.lrange("normal", 0, -1)]


def send(app: Celeriac, *args: Any, **options: Any) -> Any:
    return app.tasks["tests.add"].apply_async(args or (1, 2), **{"task_id": ID} | options)


def drain(app: Celeriac) -> None:
    """Run what is due from the ledger, in this thread."""
    app.broker_state = NoBroker()
    app.set_current()
    Drain(app).run(limit=100)


def test_the_message_has_the_text_and_the_row_an_id_that_follows_from_it(app: Celeriac) -> None:
    assert send(app).id == ID
    (message,) = messages(app)
    assert (message["headers"]["id"], message["properties"]["correlation_id"]) == (ID, ID)
    found = job(ID, app=app)
    assert (found.id, found.task_id, found.root_id) == (ROW, ID, ROW)
    assert job(ROW, app=app) == found
    assert app.send_task("tests.add", (1, 2), task_id=ID).id == ID  # the same job
    assert len(messages(app)) == 1
    with pytest.raises(BadArgument, match=f"job {ID} exists, of tests.add, and says something else"):
        send(app, 3, 4)
    assert job(send(app, task_id=None).id, app=app).task_id is None


def test_the_dispatcher_sends_the_text_again(app: Celeriac) -> None:
    send(app)
    with app.database.transaction() as connection:
        dispatch.unmark(connection, [UUID(ROW)])
        (row,) = dispatch.take_due(connection, 10, limit=1)
    again = json.loads(wire.write(row))
    assert (again["headers"]["id"], again["properties"]["correlation_id"]) == (ID, ID)


def test_operators_name_the_job_by_its_text(app: Celeriac) -> None:
    send(app, countdown=3600)
    assert resolve(ID, app=app) == ROW
    assert explain(ID, app=app).id == ROW
    assert told(app, "jobs", "show", ID)["job"]["task_id"] == ID
    assert told(app, "jobs", "explain", ID)["explanation"]["id"] == ROW
    assert told(app, "jobs", "list")["jobs"][0]["task_id"] == ID
    assert call(app, "jobs", "list").stdout.split("\n")[2].split()[0] == ID
    assert ID in call(app, "jobs", "show", ID).stdout
    unknown = call(app, "jobs", "show", "order-8")
    assert (unknown.exit_code, "order-8" in unknown.stderr) == (1, True)
    assert call(app, "jobs", "cancel", ID).exit_code == 0
    assert job(ID, app=app).state is JobState.CANCELLED
    assert app.AsyncResult(ID).state == "REVOKED"


def test_a_text_that_could_begin_an_id_is_first_a_text(app: Celeriac) -> None:
    send(app, task_id="cafe")
    other = send(app, task_id="cafe0000-0000-4000-8000-000000000000").id
    assert resolve("cafe", app=app) == str(parse_row_id("cafe"))
    assert resolve("cafe0", app=app) == other
    with pytest.raises(JobNotFound, match="beef"):
        resolve("beef", app=app)


def test_the_console_and_its_api_find_the_job_by_its_text(app: Celeriac) -> None:
    send(app, countdown=3600)
    with closing(Browser(app)) as browser:
        page = browser.http.get(f"/jobs/{ID}")
        assert (page.status_code, page.url.path, ID in page.text) == (200, f"/jobs/{ROW}", True)
        listed = browser.http.get("/jobs").text
        assert (f"/jobs/{ROW}" in listed, ID in listed) == (True, True)
        found = browser.http.get(f"/api/v1/jobs/{ID}").json()
        assert (found["id"], found["task_id"]) == (ROW, ID)
        assert browser.http.get(f"/api/v1/jobs/{ID}/explanation").json()["id"] == ROW
        assert browser.http.get("/jobs/order-8").status_code == 404


def test_a_revoke_by_its_text_cancels_it_for_ever(app: Celeriac) -> None:
    send(app, countdown=3600)
    send(app, countdown=3600, task_id="order-8")
    app.control.revoke([ID])
    app.AsyncResult("order-8").revoke()
    assert [job(id, app=app).state for id in (ID, "order-8")] == [JobState.CANCELLED] * 2
    assert cancel(ID, app=app) is Answer.ALREADY_CANCELLED


def test_a_result_is_answered_from_the_ledger_when_the_store_forgot_it(app: Celeriac) -> None:
    app.broker_state = NoBroker()
    result = send(app)
    drain(app)
    assert job(ID, app=app).result == 3  # copied from the store, by its key there
    with closing(redis.Redis.from_url(str(app.conf.broker_url))) as client:
        assert client.exists(f"celery-task-meta-{ID}")
        client.flushdb()
    assert (app.AsyncResult(ID).state, app.AsyncResult(ID).get(timeout=SOON)) == ("SUCCESS", 3)
    assert result.get(timeout=SOON) == 3
    app.backend.store_result(ID, 4, states.SUCCESS)
    app.AsyncResult(ID).forget()
    assert app.AsyncResult(ID).get(timeout=SOON) == 3


def test_a_retry_and_a_replacement_are_the_same_job(app: Celeriac) -> None:
    app.broker_state = NoBroker()
    app.tasks["tests.retry_with"].apply_async((1,), task_id="asked-7")
    app.tasks["tests.become"].apply_async(("job",), task_id="replaced-7")
    app.tasks["tests.retry_in_a_block"].apply_async((1,), task_id="block-7")
    app.tasks["tests.retry_no_throw"].apply_async(task_id="quiet-7")
    drain(app)
    again = [job(id, app=app) for id in ("block-7", "quiet-7")]
    assert [(one.result, one.try_count) for one in again] == [(2, 2), ("the retry", 2)]
    asked, replaced = job("asked-7", app=app), job("replaced-7", app=app)
    assert (asked.result, asked.try_count, replaced.task, replaced.result) == (2, 2, "tests.add", 6)
    assert (asked.task_id, replaced.task_id) == ("asked-7", "replaced-7")


def test_a_job_that_sends_itself_again_by_hand_is_retried(app: Celeriac) -> None:
    @app.task(name="tests.by_hand", bind=True, shared=False)
    def by_hand(self: Any, value: int) -> int:
        if self.request.retries == 0:
            self.signature_from_request(args=(value + 1,), retries=1).apply_async()
        return value

    app.broker_state = NoBroker()
    by_hand.apply_async((1,), task_id=ID)
    drain(app)
    assert (job(ID, app=app).result, job(ID, app=app).try_count) == (2, 2)


def test_a_bad_id_of_a_later_step_is_refused_with_the_first(app: Celeriac) -> None:
    add = app.tasks["tests.add"]
    with pytest.raises(BadArgument, match="task_id: wanted no control characters"):
        chain(add.s(1, 2), add.s(3).set(task_id="a\nb")).apply_async()
    assert messages(app) == []


def test_a_rescue_finds_the_result_by_the_text(app: Celeriac) -> None:
    """The worker died between its result and its record."""
    send(app)
    with app.database.transaction() as connection:
        worker_rows.sign_on(connection, DEAD)
        assert claims.claim(connection, [UUID(ROW)], worker=DEAD.id)
    app.backend.store_result(ID, 3, states.SUCCESS)
    rescuer = Rescuer(
        app.database,
        worker=UUID(int=1),
        silence=0.3,
        stored_results=app.backend.stored_results,
        on_change=lambda: None,
        meter=Meter(),
    )

    def rescued() -> bool:
        rescuer.beat_written()
        rescuer.rescue_dead()
        return job(ID, app=app).state is not JobState.RUNNING

    wait_until(rescued, within=30, saying="it is rescued")
    assert (job(ID, app=app).state, job(ID, app=app).result) == (JobState.COMPLETED, 3)
