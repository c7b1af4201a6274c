"""What is said of a plain Celery project that moves here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kombu import Exchange, Queue

from celeriac.operate.adoption.facts import Facts, TaskFacts
from celeriac.operate.adoption.notes import Kind, judge
from celeriac.operate.adoption.source import Place, Source, Use, scan
from celeriac.operate.adoption.surroundings import Surroundings

SOURCE = """
from celery import Celery, Task, shared_task
from celery.worker.request import Request
from kombu.serialization import register

register("own", dumps, loads, content_type="application/x-own")

class Slow(Request):
    def on_timeout(self, soft, timeout): ...

class Base(Task):
    Request = Slow
    acks_late = False

class Later(TestTask(unittest.TestCase)):
    queue = "none"

@shared_task
def bare(): ...

@app.task(bind=True, base=Base, max_retries=0, serializer="pickle")
def bound(self):
    raise self.retry(countdown=5)

@app.task(acks_late=False, queue="gpu", priority="high", serializer="json")
def named(): ...

@app.task
async def awaited(): ...

bare.apply_async(eta=None)
bare.apply_async(args=[1], eta=tomorrow, priority=9, routing_key="mail.x")
bare.apply_async(queue=chosen)
cache.put(countdown=3, queue="none")

app = Celery("x", broker="amqp://me:hunter2@host")
app.conf.update(task_routes={"a.*": {"queue": "mails"}}, task_acks_late=made())
app.conf.enable_utc = False
app.conf["timezone"] = "Europe/Berlin"
"""


def place(what: str = "x", value: str = "") -> Place:
    return Place("a.py", 1, what, value)


def source(use: Use, **values: str) -> Source:
    return Source(places={use: (place(**values),)})


def found(**values: Any) -> dict[str, Kind]:
    fixed: dict[str, Any] = {"broker": "redis", "results": "redis", "tasks": [TaskFacts(name="t")]}
    return {note.about: note.kind for note in judge(Facts(**{**fixed, **values}))}


def test_of_an_app_that_fits_nothing_is_said() -> None:
    assert found() == {}


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert found(broker=None, results=None, imported=False) == {}


@pytest.mark.parametrize(
    ("values", "about", "kind"),
    [
        ({"broker": "amqp"}, "broker", Kind.BLOCKS),
        ({"results": "db+sqlite"}, "results", Kind.BLOCKS),
        ({"settings": {"task_serializer": "pickle"}}, "settings", Kind.BLOCKS),
        ({"settings": {"task_acks_late": False}}, "settings", Kind.BLOCKS),
        ({"settings": {"accept_content": ["pickle"]}}, "settings", Kind.BLOCKS),
        ({"settings": {"beat_scheduler": "django_celery_beat.schedulers:X"}}, "settings", Kind.BLOCKS),
        ({"settings": {"redbeat_redis_url": "redis://h"}}, "settings", Kind.BLOCKS),
        ({"settings": {"broker_transport_options": {"sep": ":"}}}, "settings", Kind.BLOCKS),
        ({"settings": {"broker_transport_options": {"visibility_timeout": 9}}}, "settings", Kind.NOTE),
        ({"settings": {"task_reject_on_worker_lost": True}}, "settings", Kind.NOTE),
        ({"settings": {"task_always_eager": True}}, "eager", Kind.BLOCKS),
        ({"settings": {"task_time_limit": 7200}}, "time limit", Kind.NOTE),
        ({"settings": {"task_default_priority": 5}}, "priority", Kind.CHANGE),
        ({"settings": {"timezone": "Europe/Berlin"}}, "time zone", Kind.CHANGE),
        ({"settings": {"enable_utc": False}}, "time zone", Kind.CHANGE),
        ({"settings": {"task_routes": {"a.*": {"queue": "gpu"}}}}, "queues", Kind.CHANGE),
        ({"settings": {"task_default_queue": "main"}}, "queues", Kind.CHANGE),
        ({"settings": {"task_routes": {"a.*": {"queue": "high"}}}}, "levels", Kind.CHANGE),
        ({"settings": {"task_queues": [Queue("high.low")]}}, "queue names", Kind.BLOCKS),
        ({"settings": {"task_queues": [Queue("a", Exchange("a", "topic"))]}}, "queue names", Kind.BLOCKS),
        ({"tasks": [TaskFacts(name="t", serializer="pickle")]}, "serializer", Kind.BLOCKS),
        ({"tasks": [TaskFacts(name="t", limited=False)]}, "time limit", Kind.NOTE),
        ({"tasks": [TaskFacts(name="t", priority=9)]}, "priority", Kind.CHANGE),
        ({"tasks": [TaskFacts(name="t", own_class="x.Base")]}, "task class", Kind.NOTE),
        ({"tasks": [TaskFacts(name="t", unfit="metaclass")]}, "task class", Kind.BLOCKS),
        ({"tasks": [TaskFacts(name="t", own_request="Slow")]}, "request class", Kind.CHANGE),
        ({"entries": ["nightly"]}, "schedule", Kind.CHANGE),
        ({"bad_entries": ["schedule 'sun': found solar"]}, "schedule", Kind.BLOCKS),
        ({"source": source(Use.DELAY)}, "delays", Kind.NOTE),
        ({"source": source(Use.PRIORITY)}, "priority", Kind.CHANGE),
        ({"source": source(Use.QUEUE, value="gpu")}, "queues", Kind.CHANGE),
        ({"source": source(Use.QUEUE, value="high.low")}, "queue names", Kind.BLOCKS),
        ({"source": source(Use.EXCHANGE)}, "exchange", Kind.BLOCKS),
        ({"source": source(Use.EARLY)}, "acks_late", Kind.BLOCKS),
        ({"source": source(Use.ONCE)}, "max_retries", Kind.NOTE),
        ({"source": source(Use.COROUTINE)}, "coroutine", Kind.BLOCKS),
        ({"source": source(Use.SERIALIZER)}, "serializer", Kind.BLOCKS),
        ({"source": source(Use.TASK_CLASS), "imported": False}, "task class", Kind.NOTE),
        ({"source": source(Use.REQUEST), "imported": False}, "request class", Kind.CHANGE),
        ({"source": Source(unreadable=("b.py",))}, "source", Kind.NOTE),
        ({"surroundings": Surroundings(pins=["r.txt: celery==4.4"])}, "versions", Kind.BLOCKS),
        ({"surroundings": Surroundings(installed=["celery 4.4"])}, "versions", Kind.BLOCKS),
        ({"surroundings": Surroundings(shadow=["celeriac.py"])}, "names", Kind.BLOCKS),
        ({"surroundings": Surroundings(commands={"jobs": "other"})}, "names", Kind.CHANGE),
        ({"surroundings": Surroundings(migrations=["migrations/env.py"])}, "alembic", Kind.CHANGE),
    ],
)
def test_what_blocks_or_changes_is_said(values: dict[str, Any], about: str, kind: Kind) -> None:
    assert found(**values)[about] is kind


def test_a_limit_for_all_is_a_limit() -> None:
    endless = [TaskFacts(name="t", limited=False)]
    assert "time limit" not in found(tasks=endless, settings={"task_time_limit": 300})


@pytest.mark.parametrize(("broker", "most"), [("redis", "0 is the most"), ("amqp", "9 is the most")])
def test_the_direction_of_priorities_follows_from_the_broker(broker: str, most: str) -> None:
    notes = judge(Facts(broker=broker, source=source(Use.PRIORITY)))
    assert any(most in note.sentence for note in notes if note.about == "priority")


def test_what_blocks_comes_first() -> None:
    notes = judge(Facts(broker="amqp", source=source(Use.DELAY), entries=["nightly"]))
    assert [note.kind for note in notes] == [Kind.BLOCKS, Kind.CHANGE, Kind.NOTE]


def test_a_file_is_read_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SOURCE + "\nraise SystemExit('it was run')\n")
    (tmp_path / "b.py").write_text("def broken(:")
    read = scan(tmp_path.glob("*.py"), below=tmp_path)
    told = {use: [place.what for place in places] for use, places in read.places.items()}
    assert told == {
        Use.SERIALIZER: ["serialization.register", "task(serializer='pickle')"],
        Use.REQUEST: ["class Slow", "Base.Request = Slow"],
        Use.TASK_CLASS: ["class Base", "task(base=Base)"],
        Use.EARLY: ["Base.acks_late = False", "task(acks_late=False)"],
        Use.ONCE: ["task(max_retries=0)"],
        Use.DELAY: ["retry(countdown=5)", "apply_async(eta=tomorrow)"],
        Use.QUEUE: ["task(queue='gpu')", "apply_async(queue=chosen)"],
        Use.COROUTINE: ["awaited"],
        Use.PRIORITY: ["apply_async(priority=9)"],
        Use.EXCHANGE: ["apply_async(routing_key='mail.x')"],
    }
    assert [place.value for place in read.places[Use.QUEUE]] == ["gpu", ""]
    assert read.settings == {
        "broker_url": "amqp://me:hunter2@host",
        "task_routes": {"a.*": {"queue": "mails"}},
        "enable_utc": False,
        "timezone": "Europe/Berlin",
    }
    assert read.unreadable == ("b.py",)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("CELERY_TASK_ACKS_LATE = False", {"task_acks_late": False}),
        ("CELERY_RESULT_BACKEND = 'rpc://'", {"result_backend": "rpc://"}),
        ("BROKER_URL = 'amqp://'", {"broker_url": "amqp://"}),
        ("class Config:\n    task_serializer = 'pickle'", {"task_serializer": "pickle"}),
        (
            "CELERY = {'broker_url': 'redis://', 'timezone': 'UTC'}",
            {"broker_url": "redis://", "timezone": "UTC"},
        ),
        ("app.config['CELERY'] = {'result_backend': 'rpc://'}", {"result_backend": "rpc://"}),
        ("redbeat_key_prefix = 'x:'", {"redbeat_key_prefix": "x:"}),
        ("timezone = 'Europe/Berlin'", {}),
        ("TIME_ZONE = 'UTC'\nINCLUDE = 1\ninclude = ['x']", {}),
        ("def f():\n    task_serializer = 'pickle'", {}),
    ],
)
def test_settings_are_known_by_their_names(text: str, settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(text)
    assert scan([tmp_path / "a.py"], below=tmp_path).settings == settings
