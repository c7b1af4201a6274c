"""The lean lane: which messages take it, and what a child is given of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery.app.task import Task as CeleryTask
from kombu.transport import virtual

from celeriac.broker import wire
from celeriac.broker.message import Message, parse
from celeriac.headers import CHORD, FOLLOWS, PERMITS, RETRIED, STAMP, UNIQUE
from celeriac.ids import new_uuid
from celeriac.ledger.writes.claims import Claimed
from celeriac.task.task import Task
from celeriac.worker.gate import deliveries
from celeriac.worker.gate.lean_job import LeanJob, arguments
from celeriac.worker.gate.lean_lane import LeanLane
from celeriac.worker.pool.request import JobRequest

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORKER = UUID(int=7)
MAIL = SimpleNamespace(Request=Task.Request, Strategy=CeleryTask.Strategy, ignore_result=True)


class Channel(virtual.Channel):
    """As far as a message looks at it."""

    Message = Message

    def __init__(self) -> None:
        self.auto_delete_queues: Any = set()
        self.appended: list[str] = []
        self._qos: Any = SimpleNamespace(append=lambda message, tag: self.appended.append(tag))

    def __del__(self) -> None: ...


class Lane:
    def __init__(self, **tasks: Any) -> None:
        self.tasks: dict[str, Any] = {"mail": MAIL, **tasks}
        self.buckets: dict[str, Any] = {}
        self.open = True
        self.received: list[LeanJob] = []
        self.lane = LeanLane(
            self.tasks.keys(),
            self.tasks,
            buckets=self.buckets,
            is_open=lambda: self.open,
            receive=self.received.extend,
        )

    def takes(self, *items: bytes) -> bool:
        return self.lane.take(items, "normal", Channel()) == []


def message(task: str = "mail", *, without: str = "", **headers: Any) -> bytes:
    """One as this platform writes it."""
    job = new_uuid()
    found = {
        "id": str(job),
        "task": task,
        "lang": "py",
        "root_id": str(job),
        "parent_id": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "(1,)",
        "kwargsrepr": "{}",
        "origin": "here",
        "shadow": None,
        "ignore_result": True,
        "eta": None,
        "expires": None,
        "stamped_headers": None,
        "stamps": {},
        **headers,
    }
    found.pop(without, None)
    row = SimpleNamespace(
        id=job,
        queue="normal",
        priority=10,
        payload=b'[[1], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
        content_type="application/json",
        content_encoding="utf-8",
        headers=found,
        dispatch_count=1,
        message_tag=5,
    )
    return wire.write(row).encode()


def claimed(job: UUID, **changes: Any) -> Claimed:
    usual: dict[str, Any] = {
        "attempt": 1,
        "max_tries": 5,
        "tries_before": 0,
        "dispatch_count": 1,
        "queue": "normal",
        "dispatched": NOON,
        "failed_before": False,
        "waited": timedelta(0),
        "message_tag": 5,
    }
    return Claimed(job, **(usual | changes))


def test_a_message_of_ours_takes_the_lane_until_it_leaves() -> None:
    here = Lane()
    assert here.takes(message(), message())
    assert len(here.lane) == 2
    job = here.received[0]
    assert (job.task, job.queue, job.dispatch, job.tag) == ("mail", "normal", 1, 5)
    assert here.lane.find(job.job) is job
    here.lane.leave(job)
    assert here.lane.jobs() == here.received[1:]
    assert here.lane.find(job.job) is None


@pytest.mark.parametrize(
    "item",
    [
        b"garbage",
        b"[]",
        b"{}",
        b"\xff",
        message("unknown"),
        message(without="id"),
        message(id="order-7"),
        message(compression="zlib"),
        message(timelimit=[True, None]),
        message(timelimit="long"),
        message(shadow=7),
        message(argsrepr=["x"]),
        message(stamped_headers=["team"]),
        message(tenant=json.loads("[" * 600 + "]" * 600)),
        message(id=str(new_uuid()).upper()),
        message(when={"__type__": "datetime", "__value__": "2026-01-01"}),
        *(message(**{name: 1}) for name in (CHORD, FOLLOWS, PERMITS, RETRIED, UNIQUE)),
        message().replace(b'"body_encoding":"base64"', b'"body_encoding":"other"'),
        message().replace(b'"dispatch":1', b'"dispatch":"1"'),
        message(**{PERMITS: [["pings:", 1]]}).replace(b'"dispatch":1', b'"dispatch":1,"start":5'),
        message().replace(STAMP.encode(), b"foreign", 1),
        message().replace(b'"content-type":"application/json"', b'"content-type":null'),
    ],
)
def test_what_celery_must_look_at_does_not(item: bytes) -> None:
    here = Lane()
    assert here.lane.take([message(), item, message()], "normal", Channel()) == [item]
    assert len(here.received) == 2


def test_a_job_of_limits_takes_it_and_tells_of_its_permits() -> None:
    here = Lane()
    assert here.takes(message(**{PERMITS: [["stripe:", 1], ["tenant:a:b", 3]]}), message())
    assert [job.permits for job in here.received] == [("stripe:", "tenant:a:b"), ()]


def _own_request(here: Lane) -> None:
    here.tasks["mail"] = SimpleNamespace(**vars(MAIL) | {"Request": "tests:Other"})


def _own_strategy(here: Lane) -> None:
    here.tasks["mail"] = SimpleNamespace(**vars(MAIL) | {"Strategy": "tests:other"})


def _rate_limit(here: Lane) -> None:
    here.buckets["mail"] = object()


def _closed(here: Lane) -> None:
    here.open = False


@pytest.mark.parametrize("change", [_own_request, _own_strategy, _rate_limit, _closed])
def test_the_lane_is_closed_for_a_task_with_rules_of_its_own(change: Callable[[Lane], None]) -> None:
    here = Lane()
    change(here)
    assert not here.takes(message())
    assert here.received == []


@pytest.mark.parametrize(
    ("changes", "plain"),
    [
        ({}, True),
        ({"failed_before": True}, False),
        ({"expires_in": timedelta(seconds=5)}, False),
    ],
)
def test_what_the_row_says_decides_again(changes: dict[str, Any], plain: bool) -> None:
    here = Lane()
    here.takes(message())
    (job,) = here.received
    assert not job.is_plain
    job.claimed = claimed(job.job, **changes)
    assert job.is_plain is plain
    assert job.is_of(job.claimed)
    assert not job.is_of(claimed(job.job, message_tag=6))
    assert not job.is_of(claimed(job.job, dispatch_count=2))


@pytest.mark.parametrize(
    "headers", [{}, {"timelimit": [30, 20]}, {"ignore_result": None, "shadow": "other"}, {"team": "blue"}]
)
def test_a_child_is_given_what_the_request_would_give_it(headers: dict[str, Any]) -> None:
    item = message(**headers)
    here = Lane()
    here.takes(item)
    (job,) = here.received
    job.claimed = claimed(job.job, attempt=3, tries_before=1)

    known = Message(parse(item, "normal"), channel=Channel())
    drawn = deliveries.stamped(known, job.claimed, None, worker=WORKER, now=NOON)
    given: list[Any] = []
    pool = SimpleNamespace(apply_async=lambda target, args, **options: given.extend(args))
    app = SimpleNamespace(ledger_thread=None, use_fast_trace_task=True)
    task = SimpleNamespace(
        Strategy=CeleryTask.Strategy, ignore_result=True, soft_time_limit=None, time_limit=None
    )
    request = JobRequest(drawn, app=app, task=task, hostname="worker@here")
    request.execute_using_pool(pool)

    made = arguments(job.call(), hostname="worker@here", worker=str(WORKER))
    for each in (made[2], given[2]):
        each.pop("args", None), each.pop("kwargs", None)  # the tracer sets them
    assert made == tuple(given)


def test_its_message_is_the_one_that_celery_would_have_had() -> None:
    item, channel = message(), Channel()
    here = Lane()
    here.lane.take([item], "normal", channel)
    (job,) = here.received
    job.claimed = claimed(job.job)
    made = job.as_message(WORKER)
    known = Message(parse(item, "normal"), channel=Channel())
    drawn = deliveries.stamped(known, job.claimed, None, worker=WORKER, now=NOON)
    assert (made.headers, made.body, made.properties) == (drawn.headers, drawn.body, drawn.properties)
    assert channel.appended == [made.delivery_tag]
