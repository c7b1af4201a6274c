"""What is said of a plain Celery app that moves here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celeriac.operate.adoption.facts import Facts, TaskFacts
from celeriac.operate.adoption.notes import Kind, judge
from celeriac.operate.adoption.source import Place, Uses, scan

SOURCE = """
from celery import shared_task

@shared_task
def bare(): ...

@app.task(bind=True)
def bound(self):
    raise self.retry(countdown=5)

@app.task(name="mail.named")
def named(): ...

bare.apply_async(eta=None)
bare.apply_async(args=[1], eta=tomorrow, priority=9)
cache.put(countdown=3)
"""


def task(**values: Any) -> TaskFacts:
    fixed: dict[str, Any] = {"name": "t", "acks_late": True, "time_limit": 60, "soft_time_limit": None}
    return TaskFacts(**{**fixed, "serializer": None, **values})


def found(**values: Any) -> dict[str, Kind]:
    fixed: dict[str, Any] = {"broker": "redis", "results": "redis", "tasks": [task()], "queues": ["normal"]}
    return {note.about: note.kind for note in judge(Facts(**{**fixed, **values}))}


def test_an_app_that_fits_hears_only_of_retries() -> None:
    assert found() == {"retries": Kind.CHANGE}


PLACE = (Place("a.py", 1, "x"),)


@pytest.mark.parametrize(
    ("values", "about", "kind"),
    [
        ({"broker": "amqp"}, "broker", Kind.RISK),
        ({"results": "db+sqlite"}, "results", Kind.RISK),
        ({"results": None}, "results", Kind.NOTE),
        ({"visibility_timeout": 3600}, "visibility", Kind.CHANGE),
        ({"transport_options": ["sep"]}, "transport", Kind.CHANGE),
        ({"serializers": {"task_serializer": "pickle"}}, "serializer", Kind.RISK),
        ({"tasks": [task(serializer="pickle")]}, "serializer", Kind.RISK),
        ({"accepts": ["json", "pickle"]}, "accept_content", Kind.RISK),
        ({"tasks": [task(acks_late=False)]}, "acks_late", Kind.RISK),
        ({"tasks": [task(time_limit=None)]}, "time limit", Kind.CHANGE),
        ({"reject_on_worker_lost": True}, "worker lost", Kind.NOTE),
        ({"queues": ["gpu"]}, "queues", Kind.RISK),
        ({"routes": {"mail.*": "mails"}}, "routes", Kind.RISK),
        ({"uses": Uses(delays=PLACE)}, "delays", Kind.CHANGE),
        ({"uses": Uses(priorities=PLACE)}, "priority", Kind.RISK),
        ({"uses": Uses(unnamed=PLACE)}, "names", Kind.RISK),
        ({"uses": Uses(unreadable=("b.py",))}, "source", Kind.NOTE),
        ({"always_eager": True}, "eager", Kind.RISK),
        ({"schedule": ["nightly"]}, "schedule", Kind.CHANGE),
        ({"scheduler": "django_celery_beat:X"}, "scheduler", Kind.RISK),
    ],
)
def test_what_changes_or_is_at_risk_is_said(values: dict[str, Any], about: str, kind: Kind) -> None:
    assert found(**values)[about] is kind


def test_a_limit_for_all_is_a_limit() -> None:
    assert "time limit" not in found(tasks=[task(time_limit=None)], time_limit=300)


def test_the_risks_come_first() -> None:
    kinds = [note.kind for note in judge(Facts(broker="amqp", results=None, tasks=[task()]))]
    assert kinds == sorted(kinds, key=list(Kind).index)


def test_source_is_read_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("def")
    uses = scan(tmp_path.glob("*.py"), below=tmp_path)
    assert [str(place) for place in uses.delays] == [
        "some.py:9 (retry(countdown=…))",
        "some.py:15 (apply_async(eta=…))",
    ]
    assert [str(place) for place in uses.priorities] == ["some.py:15 (apply_async(priority=…))"]
    assert [place.what for place in uses.unnamed] == ["bare", "bound"]
    assert uses.unreadable == ("broken.py",)
