"""Queues of a team's own: each way to name one is obeyed, and leads to the list of its lane and level."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis
from celery import Celery, Task, chain, chord, group
from kombu import Exchange, Queue
from sqlalchemy import event, insert, select

from celeriac import Celeriac, enqueue_many, explain, job, jobs, register
from celeriac.enqueue.template import Call
from celeriac.errors import BadArgument, SettingsError
from celeriac.ids import new_id
from celeriac.ledger.schema.lanes import Lanes
from celeriac.ledger.schema.models import JOBS, WORKER_TASKS, WORKERS
from celeriac.operate.doctor import examine
from celeriac.operate.explain import Reason
from celeriac.operate.overview import queues
from celeriac.settings.platform import Settings
from celeriac.worker.counters import Meter
from celeriac.worker.duties.lost_message_finder import LostMessageFinder
from celeriac.worker.watermarks import Watermarks
from tests import stock
from tests.commands import call, told
from tests.stock import before

LEVELS = ("critical", "high", "normal", "low")


class House:
    """An app with tasks and queues of its own, and eyes for its broker."""

    def __init__(self, broker: str, database: str, **options: Any) -> None:
        settings = Settings(broker_url=broker, database_url=database, schedule_module="none")
        self.app = Celeriac("lanes", settings=settings, set_as_current=False, **options)
        self.task = self.app.task(name="lanes.plain")(plain)
        self.client = redis.Redis.from_url(broker)
        self.url = broker

    def sent(self) -> dict[str, list[str]]:
        """The ids of the messages in the broker, by list, the oldest first."""
        names = sorted(name.decode() for name in self.client.scan_iter(_type="list"))
        return {name: [_id(item) for item in reversed(self.client.lrange(name, 0, -1))] for name in names}

    def where(self, result: Any) -> str:
        """The list of a job, which is the same in its row and in the broker."""
        found = job(result.id, app=self.app)
        assert result.id in self.sent()[found.queue]
        return found.queue

    def close(self) -> None:
        self.app.close()
        self.client.flushdb()  # what plain Celery leaves has no end
        self.client.close()


def plain(*args: Any) -> None:
    """Nothing."""


def task_with_queue(house: House, queue: str, **options: Any) -> Any:
    """Celery 5.7 warns of the option, and obeys it."""
    made = house.app.task(name="lanes.train", queue=queue, shared=False, **options)(plain)
    with warnings.catch_warnings(action="ignore"):
        assert made.name == "lanes.train"  # now it is made
    return made


def _id(item: bytes) -> str:
    return str(json.loads(item)["headers"]["id"])


@contextmanager
def furnished(broker: str, database: str, **options: Any) -> Iterator[House]:
    with closing(House(broker, database, **options)) as house:
        yield house


@pytest.fixture
def house(redis_url: str, database_url: str) -> Iterator[House]:
    with furnished(redis_url, database_url, task_queues=[Queue("gpu"), Queue("mail")]) as house:
        yield house


# ---- ways to name a queue


@pytest.mark.parametrize(
    ("options", "queue", "priority"),
    [
        ({"queue": "gpu"}, "gpu.normal", 10),
        ({"queue": "gpu", "priority": 25}, "gpu.high", 25),
        ({"queue": "gpu.high"}, "gpu.high", 20),
        ({"queue": "gpu.high", "priority": 25}, "gpu.high", 25),
        ({"queue": "gpu.low", "priority": "critical"}, "gpu.low", 30),
        ({"queue": Queue("gpu"), "priority": "low"}, "gpu.low", 0),
        ({"queue": Queue("new")}, "new.normal", 10),
        ({"queue": "celery"}, "normal", 10),
        ({"queue": "default", "priority": "high"}, "high", 20),
        ({"queue": "high"}, "high", 20),
        ({"queue": "default.low"}, "low", 0),
        ({}, "normal", 10),
        ({"priority": "critical"}, "critical", 30),
    ],
)
def test_a_call_goes_to_its_lane_and_level(
    house: House, options: dict[str, Any], queue: str, priority: int
) -> None:
    result = house.task.apply_async(**options)
    assert house.where(result) == queue
    assert job(result.id, app=house.app).priority == priority
    assert house.where(house.app.send_task("lanes.plain", **options)) == queue


def test_the_decorator_names_a_queue_and_a_call_may_name_another(house: House) -> None:
    task = task_with_queue(house, "gpu", priority="high")
    assert house.where(task.delay()) == "gpu.high"
    assert house.where(task.apply_async(priority="low")) == "gpu.low"
    assert house.where(task.apply_async(queue="mail")) == "mail.high"
    assert house.where(house.app.send_task("lanes.train")) == "gpu.high"


def test_members_of_a_canvas_go_each_to_its_own_queue(house: House) -> None:
    one, two, body = house.task.si().set(queue="gpu"), house.task.si().set(queue="mail.high"), house.task.si()
    result = chord(group([one, two]))(body.set(queue="web"))
    places = {found.id: found.queue for found in jobs(app=house.app)}
    assert places[result.id] == "web.normal"
    assert {places[member.id] for member in result.parent.results} == {"gpu.normal", "mail.high"}
    started = chain(house.task.si().set(queue="gpu.low"), house.task.si()).apply_async()
    assert house.where(started.parent) == "gpu.low"


def test_many_jobs_go_to_the_lane_that_they_name(house: House) -> None:
    calls = [(1,), (2,), Call((3,), options={"queue": "mail.high"}), (4,)]
    assert enqueue_many(house.task, calls, queue="gpu", priority="low") == 4
    assert {name: len(ids) for name, ids in house.sent().items()} == {"gpu.low": 3, "mail.high": 1}
    assert enqueue_many(house.task, [(n,) for n in range(50)], queue="gpu") == 50
    assert len(house.sent()["gpu.normal"]) == 50


def by_name(name: str, *rest: Any, **options: Any) -> dict[str, Any] | None:
    return {"queue": "gpu", "priority": 25} if name == "lanes.plain" else None


class Router:
    """A router of Celery before 4.0, which is named by its path."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> dict[str, Any]:
        return {"queue": "gpu", "priority": 25}


@pytest.mark.parametrize(
    ("routes", "queue"),
    [
        ({"lanes.plain": "gpu"}, "gpu.normal"),
        ({"lanes.*": {"queue": "gpu"}}, "gpu.normal"),
        ({re.compile(r"lanes\.(plain|other)"): {"queue": "gpu.low"}}, "gpu.low"),
        ([("other.*", {"queue": "mail"}), ("lanes.*", {"queue": "gpu"})], None),
        ([[("other.*", {"queue": "mail"}), ("lanes.*", {"queue": "gpu"})]], "gpu.normal"),
        ([{"other.*": "mail"}, {"lanes.*": {"queue": "gpu", "priority": 30}}], "gpu.critical"),
        (by_name, "gpu.high"),
        ("tests.integration.test_lanes.by_name", "gpu.high"),
        ("tests.integration.test_lanes.Router", "gpu.high"),
        ({"lanes.*": {"priority": 30}}, "critical"),
        ({"lanes.*": {"queue": Queue("gpu")}}, "gpu.normal"),
        ({"other.*": "gpu"}, "normal"),
    ],
)
def test_every_form_of_route_is_obeyed(
    redis_url: str, sqlite_url: str, routes: Any, queue: str | None
) -> None:
    with furnished(redis_url, sqlite_url, task_routes=routes) as house:
        if queue is None:  # no form of Celery's: it says so, too
            with pytest.raises((ValueError, TypeError, AttributeError)):
                house.task.delay()
            return
        assert house.where(house.task.delay()) == queue


def test_a_call_goes_before_a_route_and_a_route_before_the_default(redis_url: str, sqlite_url: str) -> None:
    with furnished(redis_url, sqlite_url, task_routes={"lanes.*": {"queue": "gpu", "priority": 25}}) as house:
        assert house.where(house.task.apply_async(queue="mail", priority=0)) == "mail.low"
        assert house.where(house.task.apply_async(queue="mail")) == "mail.high"
        assert house.where(house.task.apply_async(priority="low")) == "gpu.low"


@pytest.mark.parametrize(
    ("default", "none", "high"),
    [
        ("main", "main.normal", "main.high"),
        ("celery", "normal", "high"),
        ("default", "normal", "high"),
        ("low", "low", "high"),
        ("main.low", "main.low", "main.high"),
    ],
)
def test_the_default_queue_is_the_teams(
    redis_url: str, sqlite_url: str, default: str, none: str, high: str
) -> None:
    with furnished(redis_url, sqlite_url, task_default_queue=default) as house:
        assert house.where(house.task.delay()) == none
        assert house.where(house.task.apply_async(priority="high")) == high
        assert house.where(house.task.apply_async(queue="gpu")) == "gpu.normal"


def test_a_direct_exchange_and_its_key_are_the_queue_that_has_them(redis_url: str, sqlite_url: str) -> None:
    cards = Queue("gpu", Exchange("cards", "direct"), routing_key="fast")
    with furnished(redis_url, sqlite_url, task_queues=[cards]) as house:
        assert house.where(house.task.apply_async(exchange="cards", routing_key="fast")) == "gpu.normal"
        with pytest.raises(BadArgument, match="exchange: no queue is declared with the exchange 'cards'"):
            house.task.apply_async(exchange="cards", routing_key="slow")


@pytest.mark.parametrize("kind", ["topic", "headers", "fanout"])
def test_a_queue_that_is_not_direct_is_refused_by_name(redis_url: str, sqlite_url: str, kind: str) -> None:
    feeds = Queue("feeds", Exchange("feeds", kind), routing_key="feed.#")
    with furnished(redis_url, sqlite_url) as house:
        with pytest.raises(BadArgument, match="exchange: no queue is declared with the exchange 'feeds'"):
            house.task.apply_async(queue=feeds)
        with pytest.raises(SettingsError) as refused:
            house.app.conf.task_queues = [feeds, Queue("gpu.high")]
        first, second = refused.value.problems
        assert first.startswith("task_queues: a queue is addressed by its name, through a direct exchange")
        assert first.endswith(f"'feeds' has {kind}")
        assert "task_queues: 'gpu.high' is the level high of the lane 'gpu'" in second


@pytest.mark.parametrize("queue", ["high.low", "gpu.high.low", ".low", "a\nb", "", "a" * 250])
def test_a_name_that_cannot_be_a_queue_is_refused_at_the_call(
    redis_url: str, sqlite_url: str, queue: str
) -> None:
    with furnished(redis_url, sqlite_url) as house:
        if queue:
            with pytest.raises(BadArgument, match="queue: "):
                house.task.apply_async(queue=queue)
        with pytest.raises(BadArgument, match="queue: "):
            house.task.apply_async(queue=Queue(queue))
        assert house.sent() == {}


def test_a_name_that_nothing_declares_is_refused_where_the_team_says_so(
    redis_url: str, sqlite_url: str
) -> None:
    with furnished(
        redis_url,
        sqlite_url,
        task_queues=[Queue("gpu")],
        task_routes=[{"other.*": "web"}],
        task_create_missing_queues=False,
        beat_schedule={"nightly": {"task": "lanes.plain", "schedule": 60, "options": {"queue": "night"}}},
    ) as house:
        task_with_queue(house, "cards")
        for queue in ("gpu", "web.low", "cards", "night", "celery", "low"):
            house.task.apply_async(queue=queue)
        with pytest.raises(
            BadArgument, match=r"queue: wanted one of default, gpu, web, cards, night .*'gpv'"
        ):
            house.task.apply_async(queue="gpv")
        assert set(house.app.amqp.queues.consume_from) == {
            each for lane in ("default", "gpu", "web", "cards", "night") for each in Lanes().lists(lane)
        }


def test_a_worker_without_q_leaves_the_default_lane_to_others_where_the_team_has_another(
    redis_url: str, sqlite_url: str
) -> None:
    """As in Celery: two projects share a broker, each with a default queue of its own."""
    with furnished(redis_url, sqlite_url, task_default_queue="main") as house:
        assert list(house.app.amqp.queues.consume_from) == list(Lanes().lists("main"))
        assert house.where(house.task.apply_async(queue="high")) == "high"


def test_what_celery_takes_for_the_default_exchange_is_the_queues_name(
    redis_url: str, sqlite_url: str
) -> None:
    same: dict[str, Any] = {
        "task_default_queue": "main",
        "task_default_exchange": "main",
        "task_default_routing_key": "main",
    }
    with furnished(redis_url, sqlite_url, **same) as house:
        assert house.where(house.task.delay()) == "main.normal"
    other = same | {"task_default_exchange": "other"}
    settings = Settings(broker_url=redis_url, database_url=sqlite_url)
    app = Celeriac("other", settings=settings, set_as_current=False, **other)
    with pytest.raises(SettingsError, match="task_default_exchange: found 'other'"):
        app.settings  # noqa: B018


# ---- schedules, commands, retries


def test_a_schedule_names_a_queue(house: House) -> None:
    register("nightly", "lanes.plain", every=60, queue="night", priority="high", app=house.app)
    call(house.app, "schedules", "run-now", "nightly")
    (found,) = jobs(app=house.app)
    assert found.queue == "night.high"


def test_the_command_line_names_a_queue(house: House) -> None:
    made = told(house.app, "jobs", "enqueue", "lanes.plain", "--queue", "gpu.high")
    assert job(made["id"], app=house.app).queue == "gpu.high"
    house.task.apply_async(queue="gpu")
    house.task.delay()
    listed = told(house.app, "jobs", "list", "--queue", "gpu")["jobs"]
    assert sorted(each["queue"] for each in listed) == ["gpu.high", "gpu.normal"]
    assert [each.queue for each in jobs(queue="gpu.high", app=house.app)] == ["gpu.high"]


def test_a_queue_that_is_purged_is_a_whole_lane_and_what_plain_celery_sent_to_it(house: House) -> None:
    for options in ({"queue": "gpu"}, {"queue": "gpu.high"}, {"queue": "mail"}, {}):
        house.task.apply_async(**options)
    for options in ({}, {"priority": 5}):
        send_as_plain_celery(house.url, queue="gpu", **options)
    assert "Purged 4 messages from 1 known task queue" in call(house.app, "purge", "-f", "-Q", "gpu").output
    assert set(house.sent()) == {"mail.normal", "normal"}
    assert "Purged 1 message" in call(house.app, "purge", "-f", "-X", "mail").output
    assert set(house.sent()) == {"mail.normal"}


# ---- what operators are shown


def a_worker(app: Celeriac, *queues: str) -> None:
    made = stock.worker(id=UUID(new_id()), queues=list(queues), heartbeat=before(0))
    with app.database.transaction() as connection:
        connection.execute(insert(WORKERS), [made])
        if not connection.execute(select(WORKER_TASKS)).first():
            known = {"tasks": made["tasks"], "name": "lanes.plain"}
            connection.execute(insert(WORKER_TASKS), [known])


def send_as_plain_celery(broker: str, *, queue: str, **options: Any) -> None:
    with closing(Celery("shop", broker=broker, broker_pool_limit=100, set_as_current=False)) as plain:
        plain.send_task("shop.charge", [1], queue=queue, **options)


def test_queues_are_told_by_lane_and_level(house: House) -> None:
    house.task.apply_async(queue="gpu", priority="high")
    with house.app.database.transaction() as connection:
        connection.execute(insert(JOBS), [stock.pending(queue="celery"), stock.pending(queue="web.low")])
    a_worker(house.app, *Lanes().lists("gpu"))
    found = queues(app=house.app)
    assert [(each.lane, each.level, each.name) for each in found] == [
        *(("default", level, level) for level in LEVELS),
        ("default", "normal", "celery"),
        *(("gpu", level, f"gpu.{level}") for level in LEVELS),
        *(("mail", level, f"mail.{level}") for level in LEVELS),
        ("web", "low", "web.low"),
    ]
    high = next(each for each in found if each.name == "gpu.high")
    assert (high.due, high.in_broker, high.consumers) == (1, 1, 1)


def test_doctor_names_a_lane_with_jobs_from_which_nobody_draws(house: House) -> None:
    house.task.apply_async(queue="gpu")
    house.task.apply_async(queue="gpu.high")
    a_worker(house.app, *LEVELS, *Lanes().lists("mail")[1:])
    told = [(one.sentence, one.remedy) for one in examine(house.app) if one.check == "queues"]
    assert told == [
        ("no live worker draws from gpu: 2 jobs due", "celery -A app worker -Q gpu"),
        ("no live worker draws from mail.critical", "celery -A app worker -Q mail.critical"),
    ]


def test_a_list_that_is_nobodys_is_named_and_that_of_a_lane_is_not(house: House) -> None:
    send_as_plain_celery(house.url, queue="gpu", priority=5)
    send_as_plain_celery(house.url, queue="else")
    a_worker(house.app, *LEVELS)
    lists = [one.sentence for one in examine(house.app) if one.check == "lists"]
    assert [sentence.partition(":")[0] for sentence in lists] == [
        "nobody draws from the list else",
        "nobody draws from the list gpu\\x06\\x163",
    ]
    a_worker(house.app, *Lanes().with_bare(Lanes().lists("gpu")))
    lists = [one.sentence for one in examine(house.app) if one.check == "lists"]
    assert len(lists) == 1


def test_explain_knows_what_its_workers_draw_first(house: House) -> None:
    for queue in ("mail.high", "gpu.high", "gpu"):
        house.task.apply_async(queue=queue)
    last = house.task.apply_async(queue="mail")
    assert explain(last.id, app=house.app).reason is Reason.NO_WORKER
    a_worker(house.app, *Lanes().lists("gpu"), *Lanes().lists("mail"))
    found = explain(last.id, app=house.app)
    assert (found.reason, "3 more important or earlier jobs go before it" in found.sentence) == (
        Reason.BEHIND_OTHERS,
        True,
    )
    a_worker(house.app, *Lanes().lists("mail"))  # another one takes it before those of gpu
    assert "1 more important or earlier jobs go" in explain(last.id, app=house.app).sentence


# ---- lost messages


def asked(house: House, work: Callable[[], object]) -> tuple[int, int]:
    """How many statements and how many commands ``work`` sends to the database and to the broker."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    with house.app.connection_or_acquire() as connection:
        connection.default_channel.lengths(["connected"])
    engine = house.app.database.engine
    event.listen(engine, "before_cursor_execute", note)
    before = house.client.info("stats")["total_reads_processed"]
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(statements), house.client.info("stats")["total_reads_processed"] - before


def finder(house: House, lists: Sequence[str]) -> LostMessageFinder:
    return LostMessageFinder(
        house.app,
        house.app.database,
        Watermarks(0.0),
        queues=lambda: lists,
        on_change=lambda: None,
        meter=Meter(),
    )


def test_thirty_lanes_cost_a_sweep_no_more_than_one(house: House) -> None:
    many = [each for n in range(30) for each in Lanes().lists(f"lane{n}")]
    one = asked(house, finder(house, Lanes().lists("gpu")).sweep)
    thirty = asked(house, finder(house, many).sweep)
    assert one[0] == thirty[0]
    assert abs(thirty[1] - one[1]) <= 2  # a long command may arrive in two parts


def test_lost_messages_of_every_lane_are_found_and_those_of_a_backlog_are_not(house: House) -> None:
    lost = [stock.pending(queue=f"lane{n}.high", dispatched=before(60)) for n in range(30)]
    waits = stock.pending(queue="gpu.low", dispatched=before(60))
    fresh = stock.pending(queue="lane1.high", dispatched=datetime.now(UTC))
    elsewhere = stock.pending(queue="mail.low", dispatched=before(60))
    with house.app.database.transaction() as connection:
        connection.execute(insert(JOBS), [*lost, waits, fresh, elsewhere])
    house.client.lpush("gpu.low", "a message")
    finder(house, [*(f"lane{n}.high" for n in range(30)), "gpu.low"]).sweep()
    unsent = {found.id for found in jobs(limit=100, app=house.app) if found.dispatched is None}
    assert unsent == {str(row["id"]) for row in lost}


# ---- retries


def test_a_retry_stays_in_its_lane_or_goes_where_it_says(celeriac: Any) -> None:
    @celeriac.app.task(name="lanes.again", bind=True, max_tries=2)
    def again(self: Task, options: dict[str, Any]) -> str:
        if self.request.retries:
            return str(self.request.delivery_info["routing_key"])
        raise self.retry(countdown=0, **options)

    for options, queue, priority in (
        ({}, "gpu.high", 25),
        ({"priority": "low"}, "gpu.low", 0),
        ({"queue": "mail"}, "mail.high", 25),
        ({"queue": "mail.low"}, "mail.low", 0),
        ({"queue": "mail", "priority": 30}, "mail.critical", 30),
        ({"queue": "celery"}, "high", 25),
    ):
        result = again.apply_async((options,), queue="gpu", priority=25)
        celeriac.drain()
        found = job(result.id, app=celeriac.app)
        assert (found.result, found.queue, found.priority) == (queue, queue, priority), options
