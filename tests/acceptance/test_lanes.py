"""Lanes with real workers: what -Q names is drawn, level first; what plain Celery sent is adopted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Queue

from celeriac.application import Celeriac
from celeriac.ledger.schema.lanes import Lanes
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job, jobs
from celeriac.operate.overview import list_workers
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.support import wait_until
from tests.workers import Worker

STEP = "\x06\x16"  # kombu's, between the name of a queue and one of its priorities


class House:
    """A producer, a plain Celery producer, and eyes for broker and ledger."""

    def __init__(self, broker: str, database: str) -> None:
        self.broker, self.database = broker, database
        settings = Settings(broker_url=broker, database_url=database, task_modules=("tests.jobs",))
        self.app: Celeriac = build(settings, set_as_current=False)
        self.client = redis.Redis.from_url(broker)

    def send(self, queue: str, *args: Any, **options: Any) -> str:
        return str(self.app.tasks["tests.echo"].apply_async(args, queue=queue, **options).id)

    def send_as_plain_celery(self, queue: str, *args: Any, **options: Any) -> None:
        with closing(Celery("shop", broker=self.broker, set_as_current=False)) as plain:
            plain.conf.task_queues = [Queue(queue)]
            plain.send_task("tests.echo", args, queue=queue, **options)

    def completed(self) -> list[Job]:
        """In the order in which they began."""
        found = [each for each in jobs(limit=100, app=self.app) if each.state is JobState.COMPLETED]
        return sorted(found, key=lambda each: (each.started is None, each.started))

    def completes(self, count: int, worker: Worker) -> list[Job]:
        def done() -> bool:
            assert worker.running
            return len(self.completed()) >= count

        wait_until(done, within=60, saying=f"{count} jobs are completed")
        return self.completed()

    def row_says(self, *, drawn: str, still: bool = True) -> bool:
        """Wait until the worker's row says whether it draws from this list."""

        def says() -> bool:
            (status,) = list_workers(app=self.app)
            return (drawn in status.worker.queues) is still

        return wait_until(says, within=20, saying=f"the worker's row says of {drawn}: {still}")

    def messages(self, *lists: str) -> int:
        return sum(int(self.client.llen(name)) for name in lists)

    def close(self) -> None:
        self.app.close()
        for name in self.client.scan_iter(_type="list"):
            self.client.delete(name)  # what nobody was there to draw
        for name in self.client.scan_iter("_kombu.binding.*"):
            self.client.delete(name)
        with suppress(Exception):  # a test may have closed it
            self.client.close()


@pytest.fixture
def house(redis_url: str, sqlite_url: str) -> Iterator[House]:
    with closing(House(redis_url, sqlite_url)) as house:
        yield house


Start = Callable[..., Worker]


def started(start: Start, house: House, *options: str, **settings: object) -> Worker:
    return start(
        house.broker,
        house.database,
        options=options,
        settings={"prefetch": 1, **settings},
        concurrency=1,
        pool="solo",
    )


def test_q_draws_whole_lanes_level_first_then_in_its_order(house: House, start_worker: Start) -> None:
    places = [
        *("mail.low", "gpu.low", "gpu.normal", "mail.normal", "mail.high", "gpu.high"),
        *("gpu.critical", "mail.critical", "web.critical", "high"),
    ]
    for place in places:
        house.send(place, place)
    worker = started(start_worker, house, "-Q", "mail,gpu").ready()
    found = house.completes(8, worker)
    assert [each.queue for each in found] == [
        f"{lane}.{level}" for level in ("critical", "high", "normal", "low") for lane in ("mail", "gpu")
    ]
    assert house.messages("web.critical", "high") == 2  # which -Q does not name
    (status,) = list_workers(app=house.app)
    assert status.worker.queues == Lanes().with_bare([*Lanes().lists("mail"), *Lanes().lists("gpu")])


def test_q_may_name_one_level_and_x_may_leave_one_out(house: House, start_worker: Start) -> None:
    for place in ("gpu.critical", "gpu.high", "mail.high", "mail.low"):
        house.send(place, place)
    house.send_as_plain_celery("gpu", "of nobody here")
    worker = started(start_worker, house, "-Q", "gpu.critical,mail", "-X", "mail.low").ready()
    house.completes(2, worker)
    found = house.app.control.inspect(timeout=5, destination=[worker.node]).active_queues()
    drawn = {each["name"] for each in found[worker.node]}
    assert drawn == {"gpu.critical", "mail.critical", "mail.high", "mail.normal"}
    assert [each.queue for each in house.completed()] == ["gpu.critical", "mail.high"]
    assert house.messages("gpu", "gpu.high", "mail.low") == 3


def test_remote_control_adds_and_cancels_a_lane(house: House, start_worker: Start) -> None:
    worker = started(start_worker, house, "-Q", "mail", heartbeat=0.5).ready()
    for place in ("gpu.low", "gpu.critical"):
        house.send(place, place)
    house.send_as_plain_celery("gpu", "plain")
    control = house.app.control
    (answer,) = control.add_consumer("gpu", reply=True, timeout=10, destination=[worker.node])
    assert answer[worker.node] == {"ok": "add consumer gpu"}
    found = house.completes(3, worker)
    assert sorted(each.queue for each in found) == ["gpu.critical", "gpu.low", "gpu.normal"]
    wait_until(
        lambda: "gpu.high" in list_workers(app=house.app)[0].worker.queues,
        within=20,
        saying="its row says so",
    )
    control.cancel_consumer("gpu", reply=True, timeout=10, destination=[worker.node])
    assert house.row_says(drawn="gpu.high", still=False)
    house.send("mail.low", "taken")
    house.completes(4, worker)  # what it had asked for before is answered by now
    house.send("gpu.high", "left")
    house.send("mail.low", "taken, too")
    house.completes(5, worker)
    assert house.messages("gpu.high") == 1
    (answer,) = control.add_consumer("high.low", reply=True, timeout=10, destination=[worker.node])
    house.send("mail.low", "it lives on")
    house.completes(6, worker)
    assert "no queue was added" in worker.log


def test_what_plain_celery_sent_is_adopted_into_its_lane_and_level(house: House, start_worker: Start) -> None:
    """Into kombu's lists of priorities, too: there nine is the least, and zero is what has none."""
    for priority in (9, 6, 3, 0):
        house.send_as_plain_celery("gpu", priority, priority=priority)
    house.send_as_plain_celery("celery", "celery")
    house.send_as_plain_celery("default", "default")
    house.send_as_plain_celery("high", "high", priority=3)
    lists = ["gpu", *(f"gpu{STEP}{step}" for step in (3, 6, 9)), "celery", "default", f"high{STEP}3"]
    assert [house.messages(each) for each in lists] == [1] * 7
    worker = started(start_worker, house, "-Q", "gpu,default").ready()
    found = house.completes(7, worker)
    assert [(each.args[0], each.queue, each.priority) for each in found] == [
        ("high", "high", 20),
        (0, "gpu.normal", 10),
        *sorted([("celery", "normal", 10), ("default", "normal", 10)]),
        (3, "gpu.low", 7),
        (6, "gpu.low", 4),
        (9, "gpu.low", 1),
    ]
    assert house.messages(*lists) == 0


def test_lists_of_plain_celery_are_left_out_where_the_team_says_so(house: House, start_worker: Start) -> None:
    house.send_as_plain_celery("gpu", 1)
    house.send_as_plain_celery("celery", 2, priority=3)
    worker = started(start_worker, house, "-Q", "gpu,default", adopt_foreign="false").ready()
    house.send("gpu.low", "ours")
    assert [each.args for each in house.completes(1, worker)] == [["ours"]]
    assert house.messages("gpu", f"celery{STEP}3") == 2


def test_a_job_that_an_older_version_adopted_is_still_run(house: House, start_worker: Start) -> None:
    """Its row names the list without a level; its message is sent there again when it is lost."""
    job = house.send("normal", "old")
    with house.app.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE background_jobs SET queue = 'celery', dispatched = NULL")
    house.client.delete("normal")
    worker = started(start_worker, house, "-Q", "celery").ready()
    (found,) = house.completes(1, worker)
    assert (found.id, found.queue) == (job, "celery")
