"""What a retry, a replacement and a call may say of a job, and what row and message have of it then."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject

from celeriac.application import Celeriac
from celeriac.broker import wire
from celeriac.enqueue.bulk import enqueue_many
from celeriac.headers import PROPERTIES
from celeriac.ids import parse_id
from celeriac.ledger.reads.job_rows import find
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes import claims
from celeriac.operate.job import Job
from celeriac.settings.platform import Settings
from celeriac.testing import Kit
from tests.apps import build

ERROR = JobState.ERROR


@pytest.fixture
def celeriac_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")  # nothing listens there
    monkeypatch.setenv("CELERIAC_DATA_DIR", str(tmp_path))
    app = build(Settings(task_modules=(), retry_base=1), set_as_current=False)

    @app.task(name="tests.again", bind=True, shared=False)
    def again(self: Any, options: dict[str, Any], args: Any = None) -> Any:
        """Retry once with ``options``, then say what came."""
        if self.request.retries == 0:
            raise self.retry(**{"countdown": 0, **options}, args=args and [options, args])
        return seen(self)

    @app.task(name="tests.goes_on", bind=True, shared=False)
    def goes_on(self: Any, options: dict[str, Any]) -> Any:
        """The same, without leaving at the retry."""
        if self.request.retries == 0:
            self.retry(**{"countdown": 0, **options}, throw=False)
        return seen(self)

    @app.task(name="tests.fails_once", bind=True, shared=False, retry_base=0)
    def fails_once(self: Any) -> Any:
        if self.request.retries == 0:
            raise ValueError("the first attempt")
        return seen(self)

    @app.task(name="tests.rejects", bind=True, shared=False)
    def rejects(self: Any) -> Any:
        if self.request.retries == 0:
            raise Reject("not now", requeue=True)
        return self.request.delivery_info["redelivered"]

    @app.task(name="tests.replaces", bind=True, shared=False)
    def replaces(self: Any, options: dict[str, Any]) -> Any:
        raise self.replace(app.signature("tests.fails_once", **options))

    yield app
    app.close()


def seen(task: Any) -> dict[str, Any]:
    request = task.request
    return {
        "queue": request.delivery_info["routing_key"],
        "trace": (request.headers or {}).get("trace"),
        "limits": request.timelimit,
        **{name: request.properties.get(name) for name in ("app_id", "reply_to", "correlation_id")},
    }


def waiting(kit: Kit) -> Job:
    """The one job after its first attempt."""
    kit.drain(limit=50)
    (job,) = kit.jobs()
    return job


def row(kit: Kit, job: Job) -> Any:
    with kit.database.reading() as connection:
        return find(connection, parse_id(job.id))


LATER = {"countdown": 60}


@pytest.mark.parametrize("task", ["tests.again", "tests.goes_on"])
@pytest.mark.parametrize(
    ("options", "queue", "priority"),
    [
        ({"priority": 90}, "critical", 90),
        ({"priority": "low"}, "low", 0),
        ({"queue": "high"}, "high", 20),
        ({"queue": "high", "priority": 25}, "high", 25),
    ],
    ids=str,
)
def test_a_retry_changes_priority_and_queue(
    celeriac: Kit, task: str, options: Mapping[str, Any], queue: str, priority: int
) -> None:
    celeriac.app.send_task(task, [options])
    job = waiting(celeriac)
    assert (job.state, job.queue, job.priority) == (JobState.COMPLETED, queue, priority)
    assert job.result["queue"] == queue


@pytest.mark.parametrize("args", [None, "others"])
def test_a_retry_changes_its_expiry(celeriac: Kit, args: Any) -> None:
    celeriac.app.send_task("tests.again", [{**LATER, "expires": 30}, args])
    job = waiting(celeriac)
    assert job.state is ERROR
    assert job.expires is not None
    assert timedelta(seconds=20) < job.expires - job.queued < timedelta(seconds=40)
    celeriac.travel(timedelta(seconds=61))
    job = waiting(celeriac)
    assert (job.state, job.failure_info) == (JobState.CANCELLED, "cancelled: expired")


def test_an_expiry_may_be_a_moment_or_be_taken_away(celeriac: Kit) -> None:
    moment = datetime(2999, 1, 1, tzinfo=UTC)
    celeriac.app.send_task("tests.again", [{**LATER, "expires": moment.isoformat()}], expires=60)
    assert waiting(celeriac).expires == moment
    celeriac.app.send_task("tests.again", [{**LATER, "expires": None}], expires=60)
    celeriac.drain()
    assert celeriac.jobs()[-1].expires is None


@pytest.mark.parametrize("options", [{}, {"headers": {"trace": "abc"}}, {"priority": 90}], ids=str)
def test_a_retry_that_names_no_expiry_keeps_that_of_the_call(celeriac: Kit, options: dict[str, Any]) -> None:
    celeriac.app.send_task("tests.again", [{**LATER, **options}], expires=600)
    (job,) = celeriac.jobs()
    assert job.expires is not None
    assert waiting(celeriac).expires == job.expires


@pytest.mark.parametrize(
    ("call", "options", "limits", "timeout"),
    [
        ({}, {"soft_time_limit": 1}, [None, 1], 1),
        ({}, {"time_limit": 2}, [2, None], 2),
        ({}, {"timeout": 1}, [11, 1], 1),
        ({"timeout": 5}, {"timeout": 1}, [11, 1], 1),
        ({"timeout": 5}, {"time_limit": 3}, [3, None], 3),
        ({"timeout": 5}, {"soft_time_limit": 20}, [None, 20], 20),
        ({"timeout": 5}, {"priority": 90}, [15, 5], 5),
    ],
    ids=str,
)
def test_a_retry_changes_its_time_limits(
    celeriac: Kit, call: dict[str, Any], options: dict[str, Any], limits: Any, timeout: float
) -> None:
    celeriac.app.send_task("tests.again", [{**LATER, **options}], **call)
    job = waiting(celeriac)
    assert (row(celeriac, job).headers["timelimit"], job.timeout) == (limits, timeout)


def test_a_retry_changes_its_headers(celeriac: Kit) -> None:
    celeriac.app.send_task("tests.again", [{"headers": {"trace": "abc"}}], app_id="shop")
    assert (waiting(celeriac).result["trace"], waiting(celeriac).result["app_id"]) == ("abc", "shop")


def test_a_retry_names_its_user_or_keeps_it(celeriac: Kit) -> None:
    celeriac.app.tasks["tests.again"].user_id = "of the task"
    celeriac.app.send_task("tests.again", [{"user_id": "ada"}], user_id="bob")
    assert waiting(celeriac).user_id == "ada"
    for options in ({}, {"headers": {"trace": "abc"}}):
        celeriac.app.send_task("tests.again", [options, "others"], user_id="bob")
        celeriac.drain()
        assert celeriac.jobs()[-1].user_id == "bob"


@pytest.mark.parametrize("task", ["tests.again", "tests.goes_on"])
@pytest.mark.parametrize("options", [{"max_tries": 9}, {"max_retries": 8}], ids=str)
def test_a_retry_raises_the_limit_of_tries(celeriac: Kit, task: str, options: dict[str, Any]) -> None:
    celeriac.app.send_task(task, [{**LATER, **options}])
    assert waiting(celeriac).max_tries == 9


@pytest.mark.parametrize(
    "options",
    [
        {"task_id": "0192d3a4-0000-7000-8000-000000000001"},
        {"idempotency_key": "another"},
        {"schedule": "nightly"},
        {"session": "mine"},
        {"max_tries": 0},
        {"max_tries": 3, "max_retries": 2},
        {"priority": "urgent"},
    ],
    ids=str,
)
def test_what_a_retry_cannot_change_is_refused_by_name(celeriac: Kit, options: dict[str, Any]) -> None:
    celeriac.app.send_task("tests.again", [options])
    job = waiting(celeriac)
    assert (job.state, job.try_count) == (JobState.FAILED, 1)
    assert f"BadArgument: {next(iter(options))}: " in (job.failure_info or "")


def test_options_of_the_call_outlive_an_automatic_retry(celeriac: Kit) -> None:
    celeriac.app.send_task(
        "tests.fails_once", priority=90, headers={"trace": "abc"}, timeout=5, app_id="shop", reply_to="me"
    )
    celeriac.travel(timedelta(hours=1))
    found = waiting(celeriac).result
    assert found == {
        "queue": "critical",
        "trace": "abc",
        "limits": [15, 5],
        "app_id": "shop",
        "reply_to": "me",
        "correlation_id": waiting(celeriac).id,
    }


def test_a_replacement_keeps_user_and_expiry_or_names_its_own(celeriac: Kit) -> None:
    celeriac.app.tasks["tests.fails_once"].user_id = "of the task"
    for options, user, expires in (({}, "bob", 600), ({"user_id": "ada", "expires": 60}, "ada", 60)):
        celeriac.app.send_task("tests.replaces", [{"countdown": 30, **options}], user_id="bob", expires=600)
        celeriac.drain()
        job = celeriac.jobs()[-1]
        assert (job.task, job.user_id) == ("tests.fails_once", user)
        assert job.expires is not None
        assert abs((job.expires - job.queued).total_seconds() - expires) < 20


def test_a_message_that_was_rejected_is_redelivered(celeriac: Kit) -> None:
    celeriac.app.send_task("tests.rejects")
    celeriac.drain()
    (job,) = celeriac.jobs()
    assert (job.state, job.result, job.try_count) == (JobState.COMPLETED, True, 2)
    celeriac.app.send_task("tests.fails_once")
    celeriac.drain()
    celeriac.travel(timedelta(hours=1))
    celeriac.drain()


# ---- properties of a message


@pytest.mark.parametrize("many", [False, True])
def test_properties_of_a_call_are_in_its_message(celeriac: Kit, many: bool) -> None:
    given = {"app_id": "shop", "reply_to": "me", "correlation_id": "mine", "message_id": "m1"}
    task = celeriac.app.tasks["tests.goes_on"]
    if many:
        assert enqueue_many(task, [({},), ({},)], **given) == 2
    else:
        task.apply_async(({},), **given)
    for job in celeriac.jobs():
        with celeriac.database.reading() as connection:
            (found,) = claims.messages(connection, [parse_id(job.id)]).values()
        assert given.items() <= json.loads(wire.write(found))["properties"].items()
    celeriac.drain()
    results = [job.result for job in celeriac.jobs()]
    assert {result["correlation_id"] for result in results} == {"mine"}


def test_a_call_without_properties_has_none_in_its_headers(celeriac: Kit) -> None:
    celeriac.app.send_task("tests.fails_once")
    (job,) = celeriac.jobs()
    assert PROPERTIES not in row(celeriac, job).headers
    assert Celery(set_as_current=False).thread_oid  # which Celery would have given as reply_to


def test_a_property_that_is_no_text_is_refused(celeriac: Kit) -> None:
    with pytest.raises(ValueError, match="app_id: wanted text, found int"):
        celeriac.app.send_task("tests.fails_once", app_id=7)
    celeriac.assert_nothing_enqueued()
