"""Who else uses the broker: another installation is seen, and lists that nobody draws from are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from celery import Celery
from sqlalchemy import insert

from celeriac import __version__
from celeriac.application import Celeriac
from celeriac.headers import ADOPTED
from celeriac.ids import new_id
from celeriac.ledger.schema.lanes import Lanes
from celeriac.ledger.schema.models import JOBS, WORKERS
from celeriac.observe import redis_workers
from celeriac.operate.doctor import Finding, Level, examine
from celeriac.priorities import QUEUES, Priority
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build
from tests.commands import call, said
from tests.stock import before

ORIGIN = "gen7@web-1"
FOREIGN = "celery"


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    settings = Settings(database_url=database_url, broker_url=redis_url, schedule_module="none")
    made = build(settings, name="shared", set_as_current=False)
    yield made
    made.database.close()
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.flushdb()  # the keys of other apps, which these tests make, have no end


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(redis_url)) as client:
        yield client


def finding(app: Celeriac, check: str) -> Finding | None:
    return next((one for one in examine(app) if (one.area, one.check) == ("broker", check)), None)


def send_as_plain_celery(
    broker: str, *, task: str = "shop.charge", queue: str = FOREIGN, **options: Any
) -> None:
    """As a process does that never imported the app."""
    with closing(Celery("shop", broker=broker, set_as_current=False)) as plain:
        plain.send_task(task, [1], queue=queue, **options)


def a_worker(app: Celeriac, *queues: str) -> UUID:
    made = stock.worker(id=UUID(new_id()), queues=list(queues), version=__version__, heartbeat=before(0))
    with app.database.transaction() as connection:
        connection.execute(insert(WORKERS), [made])
    return UUID(str(made["id"]))


def test_a_worker_of_another_ledger_on_this_database_is_found(app: Celeriac, client: redis.Redis) -> None:
    """Each would take messages of the other, and drop them for want of a row."""
    redis_workers.record(client, a_worker(app, *QUEUES), "celery@mine")
    assert finding(app, "installations") is None
    redis_workers.record(client, uuid4(), "celery@other")
    found = finding(app, "installations")
    assert found is not None
    assert (found.level, "1 worker of another ledger" in found.sentence) == (Level.FAIL, True)
    assert "celery@other" in found.sentence
    assert "mine" not in found.sentence


def test_what_workers_leave_is_forgotten_with_them(client: redis.Redis) -> None:
    redis_workers.record(client, UUID(new_id()), "celery@here")
    assert 0 < client.ttl(redis_workers.KEY) <= 3600


def test_a_list_that_nobody_draws_from_is_named_with_its_sender(app: Celeriac, redis_url: str) -> None:
    a_worker(app, *Lanes().with_bare(QUEUES))
    send_as_plain_celery(redis_url, queue="gpu")
    found = finding(app, "lists")
    assert found is not None
    assert found.level is Level.WARN
    assert "nobody draws from the list gpu: 1 message, the oldest of shop.charge from gen" in found.sentence
    told = call(app, "queues")
    assert "nobody draws from the list gpu: 1 message, the oldest of shop.charge" in said(told)
    (undrawn,) = json.loads(call(app, "queues", "--json").stdout)["undrawn"]
    assert (undrawn["name"], undrawn["messages"], undrawn["task"]) == ("gpu", 1, "shop.charge")


def test_celerys_default_queue_is_named_only_where_nobody_draws_from_it(
    app: Celeriac, redis_url: str
) -> None:
    send_as_plain_celery(redis_url)
    send_as_plain_celery(redis_url, priority=5)
    a_worker(app, Priority.LOW.queue)
    assert "the list celery: 1 message" in str(finding(app, "lists"))
    a_worker(app, *Lanes().with_bare([Priority.NORMAL.queue]))
    assert finding(app, "lists") is None


def test_an_installation_with_another_prefix_is_no_fault(
    app: Celeriac, client: redis.Redis, redis_url: str
) -> None:
    """Its lists are not this one's to draw, whoever draws from them just now."""
    send_as_plain_celery(redis_url, queue="shop:normal")
    assert "the list shop:normal: 1 message" in str(finding(app, "lists"))
    redis_workers.record(client, uuid4(), "celery@other", prefix="shop:")
    assert finding(app, "lists") is None
    assert finding(app, "installations") is None
    assert "of the prefixes: shop:" in str(finding(app, "neighbours"))


def test_what_holds_no_messages_of_tasks_is_not_named(app: Celeriac, client: redis.Redis) -> None:
    client.lpush("somebody's own", "7", "x")
    client.lpush("numbers", "[1]")
    client.lpush("7.reply.celery.pidbox", json.dumps({"headers": {"task": "x"}}))
    client.set("celery-task-meta-1", "{}")
    assert finding(app, "lists") is None


@pytest.mark.parametrize(
    ("queue", "mark"),
    [("celery", {}), ("normal", {ADOPTED: True}), ("low", {ADOPTED: True})],
    ids=["of an older version", "normal", "low"],
)
def test_doctor_says_whose_jobs_were_adopted(app: Celeriac, queue: str, mark: dict[str, bool]) -> None:
    headers = {"origin": ORIGIN} | mark
    adopted = [stock.pending(queue=queue, job_type="shop.charge", headers=headers) for _ in range(2)]
    own = stock.pending(job_type="shop.pay", headers={"origin": ORIGIN})
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [*adopted, own])
    found = finding(app, "adopted")
    assert found is not None
    assert found.level is Level.WARN
    assert (
        "2 jobs of the last day came from apps that do not know the ledger: shop.charge from web-1 (2)"
        in (found.sentence)
    )
