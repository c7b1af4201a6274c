"""Plain calls are made from a template: they become what a call through Celery becomes."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery.app.task import Task as CeleryTask
from celery.signals import after_task_publish, before_task_publish
from sqlalchemy import select

from celeriac import Celeriac, Limit
from celeriac.enqueue.prepare import prepare
from celeriac.errors import BadArgument, PayloadTooLarge
from celeriac.headers import STAMP
from celeriac.ids import parse_row_id
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.single_insert import enqueue_one, exists
from celeriac.priorities import QUEUES

#: What is of each job alone.
OWN = frozenset({"id", "root_id", "message_tag", "queued", "next_attempt_after", "dispatched", "expires"})

#: An option that says what holds anyway; with it a call goes through Celery.
THROUGH_CELERY: dict[str, Any] = {"add_to_parent": True}


@pytest.fixture
def app(redis_url: str, postgres_url: str) -> Iterator[Celeriac]:
    made = Celeriac(
        "plain", broker=redis_url, ledger=postgres_url, set_as_current=False, celeriac_enqueue_timeout=30
    )
    with closing(made):
        yield made


def row_of(app: Celeriac, id: str) -> dict[str, Any]:
    with app.database.reading() as connection:
        found = connection.execute(select(JOBS).where(JOBS.c.id == parse_row_id(id)))
        return dict(found.mappings().one())


def comparable(app: Celeriac, id: str) -> dict[str, Any]:
    row = row_of(app, id)
    text = json.dumps(row["headers"], sort_keys=True).replace(id, "ID")
    return {
        **{name: value for name, value in row.items() if name not in OWN},
        "headers": text,
        "expires": row["expires"] is not None,
    }


def messages(broker: str) -> list[dict[str, Any]]:
    """Those in the broker, the last one last, without what is of each alone."""
    with closing(redis.Redis.from_url(broker)) as client:
        found = [json.loads(text) for queue in QUEUES for text in reversed(client.lrange(queue, 0, -1))]
    for each in found:
        id = each["headers"]["id"]
        each["headers"] = json.loads(json.dumps(each["headers"]).replace(id, "ID"))
        each["properties"] = {
            name: value for name, value in each["properties"].items() if name != "delivery_tag"
        }
        each["properties"]["correlation_id"] = "ID"
        each["headers"].pop(STAMP, None)
    return found


def takes_two(first: int, second: object = None, **more: object) -> None: ...


def with_secret(user: str, password: str) -> None: ...


OPTIONS: list[dict[str, Any]] = [
    {},
    {"priority": "high", "user_id": "7", "timeout": 30, "max_tries": 9},
    {"time_limit": 60, "soft_time_limit": 50, "ignore_result": True},
    {"max_retries": 2, "typing": False, "compression": "gzip"},
    {"expires": 600},
    {"limit": Limit("two", concurrency=2)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options) or "none")
def test_a_plain_call_is_what_a_call_through_celery_is(
    app: Celeriac, redis_url: str, options: dict[str, Any]
) -> None:
    task = app.task(name="plain.two", **options)(takes_two)
    whole = task.apply_async((1, [2, {"a": "ü"}]), {"more": 1.5}, **THROUGH_CELERY)
    plain = [task.delay(1, [2, {"a": "ü"}], more=1.5) for _ in range(3)]
    expected = comparable(app, whole.id)
    assert [comparable(app, each.id) for each in plain] == [expected] * 3
    assert [each.ignored for each in plain] == [whole.ignored] * 3
    first, *others = messages(redis_url) or [None]
    assert others == [first] * len(others)


def test_what_is_sensitive_is_hidden(app: Celeriac) -> None:
    task = app.task(name="plain.secret")(with_secret)
    whole = task.apply_async(("ann", "hunter2"), **THROUGH_CELERY)
    plain = [task.delay("ann", "hunter2"), task.delay("ann", password="hunter2")]
    assert "hunter2" not in comparable(app, plain[1].id)["headers"]
    assert comparable(app, plain[0].id) == comparable(app, whole.id)


REFUSED: list[Callable[[Any], Any]] = [
    lambda task: task.delay(),
    lambda task: task.delay(1, nan := float("nan"), other=nan),
    lambda task: task.delay(1, object()),
    lambda task: task.delay(1, "x" * 2_000_000),
    lambda task: task.apply_async("12"),
]


@pytest.mark.parametrize("call", REFUSED)
def test_what_is_refused_is_refused_in_the_same_words(app: Celeriac, call: Callable[[Any], Any]) -> None:
    def said(task: Any) -> str:
        with pytest.raises((TypeError, ValueError, BadArgument, PayloadTooLarge)) as caught:
            call(task)
        return f"{type(caught.value).__name__}: {caught.value}"

    known, fresh = (app.task(name=f"plain.refuses{n}")(takes_two) for n in "12")
    known.delay(1)
    assert said(known).replace("refuses1", "refuses2") == said(fresh)


CHANGES: dict[str, Callable[[Celeriac, Any], Any]] = {
    "the task's priority": lambda app, task: setattr(task, "priority", "high"),
    "its tries": lambda app, task: setattr(task, "max_tries", 2),
    "its tries, on its class": lambda app, task: setattr(task.__class__, "max_tries", 2),
    "its time limit": lambda app, task: setattr(task, "time_limit", 33),
    "its user": lambda app, task: setattr(task, "user_id", "7"),
    "its limit": lambda app, task: setattr(task, "limit", Limit("few", concurrency=2)),
    "its order": lambda app, task: setattr(task, "ordered_by", "first"),
    "the routes": lambda app, task: app.conf.update(task_routes={"plain.*": {"queue": "gpu"}}),
    "a router that looks at arguments": lambda app, task: app.conf.update(
        task_routes=[lambda name, args, kwargs, options, task=None, **_: {"queue": f"of{args[0]}"}]
    ),
    "the platform's settings": lambda app, task: app.conf.update(celeriac_max_tries=3),
    "the default queue": lambda app, task: app.conf.update(task_default_queue="gpu"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_obeyed_by_the_next_call(app: Celeriac, change: Callable[[Celeriac, Any], Any]) -> None:
    task = app.task(name="plain.changes")(takes_two)
    before = comparable(app, task.delay(1).id)
    change(app, task)
    task.delay(2)  # from which a template is made anew
    plain, whole = task.delay(1), task.apply_async((1,), **THROUGH_CELERY)
    assert comparable(app, plain.id) == comparable(app, whole.id) != before


def test_whether_it_keeps_results_is_asked_at_each_call(app: Celeriac) -> None:
    task = app.task(name="plain.results")(takes_two)
    before = task.delay(1)
    task.ignore_result = True
    assert (bool(before.ignored), task.delay(1).ignored) == (False, True)


def test_receivers_see_each_message(app: Celeriac) -> None:
    task = app.task(name="plain.seen")(takes_two)
    task.delay(1)
    seen: list[str] = []

    def after(headers: dict[str, Any], **_: Any) -> None:
        seen.append(headers["id"])

    after_task_publish.connect(after)
    try:
        result = task.delay(1)
    finally:
        after_task_publish.disconnect(after)
    task.delay(1)
    assert seen == [result.id]


def test_receivers_change_each_message(app: Celeriac) -> None:
    task, number = app.task(name="plain.changed")(takes_two), itertools.count()

    def before(headers: dict[str, Any], **_: Any) -> None:
        headers["tenant"] = next(number)

    before_task_publish.connect(before)  # before the first call: Celery 5.5 asks for receivers then
    try:
        ids = [task.delay(1).id for _ in range(3)]
    finally:
        before_task_publish.disconnect(before)
    assert [row_of(app, id)["headers"]["tenant"] for id in ids] == [0, 1, 2]
    assert "tenant" not in row_of(app, task.delay(1).id)["headers"]


@contextmanager
def replaced(function: Any) -> Iterator[None]:
    kept = CeleryTask.apply_async
    CeleryTask.apply_async = function
    try:
        yield
    finally:
        CeleryTask.apply_async = kept


def test_a_tool_that_wraps_celery_sees_each_call(app: Celeriac) -> None:
    """As tracers of errors and of requests do."""
    task = app.task(name="plain.traced")(takes_two)
    task.delay(1)
    original, seen = CeleryTask.apply_async, []

    def wrapped(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(self.name)
        return original(self, *args, **options)

    with replaced(wrapped):
        task.delay(1)
    assert seen == ["plain.traced"]


def test_threads_share_a_template(app: Celeriac) -> None:
    # Celery's own proxy of a task is not made for threads that are the first to touch it.
    task = app.task(name="plain.threads")(takes_two)._get_current_object()
    found: list[tuple[int, str]] = []
    barrier = threading.Barrier(8)

    def call(number: int) -> None:
        barrier.wait()
        found.extend((number, task.delay(number).id) for _ in range(25))

    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(kept)
    assert len({id for _, id in found}) == 200
    for number, id in found:
        assert json.loads(row_of(app, id)["payload"])[0] == [number]


@pytest.mark.parametrize("call", [{}, {"countdown": 60}, {"expires": 60}, {"priority": "high"}])
def test_no_row_is_written_behind_its_deadline(app: Celeriac, call: dict[str, Any]) -> None:
    """Whatever its statement: a frozen database may execute it when the call has long been refused."""
    task = app.task(name="plain.two")(takes_two)
    job = prepare(app, task, (1,), options=call)
    with app.database.driver() as pooled:
        driver: Any = pooled.driver_connection
        past, later = (datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 9000))
        more: Any = {"meanwhile": lambda: None}
        assert not enqueue_one(pooled, app.database, job, deadline=past, **more)
        assert not exists(driver, job.id, schema=None)
        assert enqueue_one(pooled, app.database, job, deadline=later, **more)
        assert not enqueue_one(pooled, app.database, job, deadline=later, **more)  # it is there


def test_times_are_those_of_the_call(app: Celeriac) -> None:
    task = app.task(name="plain.two")(takes_two)
    row = row_of(app, task.apply_async((1,), countdown=60, expires=600).id)
    assert 59 < (row["next_attempt_after"] - row["queued"]).total_seconds() < 61
    assert 599 < (row["expires"] - row["queued"]).total_seconds() < 601
    assert (row["dispatched"], row["dispatch_count"]) == (None, 0)
    row = row_of(app, task.apply_async((1,), expires=600).id)
    assert 599 < (row["expires"] - row["queued"]).total_seconds() < 601
    assert row["dispatch_count"] == 1
