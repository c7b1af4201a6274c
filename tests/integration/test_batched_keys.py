"""Keys of calls of a batch task: what is passed by its name is known; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import select

from celeriac import Batch, BatchedJob, Call, Debounce, Limit, Throttle, Unique, enqueue_many
from celeriac.errors import BadArgument
from celeriac.ledger.schema.models import JOBS
from celeriac.operate.job import jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.limits_by_hand import ByHand


class Desk(ByHand):
    def add(self, name: str, **options: Any) -> Any:
        @self.app.task(name=name, shared=False, batch=Batch(9), **options)
        def run(given: list[BatchedJob]) -> None: ...

        self.names = (*self.names, name)
        return run


@pytest.fixture
def desk(redis_url: str, database_url: str) -> Iterator[Desk]:
    settings = Settings(database_url=database_url, broker_url=redis_url)
    with closing(build(settings, set_as_current=False)) as app:
        yield Desk(app)


@pytest.mark.parametrize(
    "rule",
    [
        {"unique": Unique(args=("order",))},
        {"debounce": Debounce(60, args=("order",))},
        {"throttle": Throttle(60, args=("order",))},
    ],
)
def test_calls_with_the_same_key_are_answered_with_one_job(desk: Desk, rule: dict[str, Any]) -> None:
    task = desk.add("sync", **rule)
    first = task.delay(order=7, note="a")
    assert task.delay(order=7, note="b").id == first.id != task.delay(order=8).id
    calls = ({"order": number, "note": "bulk"} for number in (7, 7, 9))
    assert enqueue_many(task, (Call((), each) for each in calls)) == 1
    assert len(jobs(task="sync", app=desk.app)) == 3
    with pytest.raises(BadArgument, match="has no argument 'order' for its key"):
        task.delay(7)


def test_all_arguments_are_a_key_as_they_are_passed(desk: Desk) -> None:
    task = desk.add("sync", unique=Unique())
    first = task.delay(7)
    assert task.delay(7).id == first.id != task.delay(8).id
    assert task.delay(order=7).id != first.id, "nobody knows the name of the first argument"


def test_each_key_of_a_limit_has_a_limit_of_its_own(desk: Desk) -> None:
    task = desk.add("export", limit=Limit("tenant", concurrency=2, key="tenant"))
    desk.declare()
    given = [task.delay(tenant=tenant).id for tenant in "aaab"]
    desk.look()
    assert sorted(desk.admit_all()) == sorted([given[0], given[1], given[3]])
    assert (desk.used("tenant:a"), desk.used("tenant:b")) == (2, 1)
    with pytest.raises(BadArgument, match="the argument 'tenant', which a call of a batch task passes by"):
        task.delay("a")


def test_a_batch_in_a_fair_lane_takes_the_tenant_from_its_name(redis_url: str, database_url: str) -> None:
    settings = Settings(database_url=database_url, broker_url=redis_url, fair_by=("customer",))
    with closing(build(settings, set_as_current=False)) as app:
        task = Desk(app).add("imports")
        task.delay(customer="ann")
        with app.database.reading() as connection:
            assert connection.execute(select(JOBS.c.fair_key)).scalar_one() == "ann"
