"""``doctor --adopt`` on plain Celery projects, as it is typed; each is imported in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run
from tests.workers import ROOT, environment

#: A project of the kind that cannot move as it is.
RISKY = {
    "shop/__init__.py": "",
    "shop/celery.py": """
from celery import Celery
from celery.schedules import crontab, schedule

class Sunset(schedule):
    pass

app = Celery("shop", broker="amqp://me:hunter2@host", backend="db+sqlite:///r.db", include=["shop.tasks"])
app.conf.update(task_serializer="pickle", accept_content=["pickle"], timezone="Europe/Berlin")
app.conf.beat_schedule = {
    "nightly": {"task": "shop.bill", "schedule": crontab(hour=3)},
    "dusk": {"task": "shop.bill", "schedule": Sunset(60)},
}
""",
    "shop/tasks.py": """
from celery import Task, shared_task
from celery.worker.request import Request

class Slow(Request):
    def on_timeout(self, soft, timeout):
        super().on_timeout(soft, timeout)

class Base(Task):
    Request = Slow

@shared_task(base=Base)
def ship(order): ...

@shared_task(name="shop.bill", acks_late=False, max_retries=0, priority=3)
def bill(order):
    ship.apply_async([order], countdown=60, priority=9)
""",
    "requirements.txt": "celery[redis]==5.2.7 # old\nSQLAlchemy<2\nredis>=5\nflask==1.0\n-r other.txt\n",
    "migrations/env.py": "from alembic import context\n",
}

#: One that has to change nothing.
FITTING = {
    "proj/__init__.py": "",
    "proj/celery.py": """
from celery import Celery

app = Celery("proj", broker="redis://host/0", include=["proj.tasks"])
app.conf.task_time_limit = 300
""",
    "proj/tasks.py": """
from celery import shared_task

@shared_task
def add(x, y):
    return x + y
""",
    "requirements.txt": "celery>=5.5\n",
    "migrations/env.py": "from alembic import context\ncontext.configure(include_name=own)\n",
}


def tree(home: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return home


def adopt(home: Path, name: str, *words: str, app: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    env = environment("redis://127.0.0.1:1/0", f"sqlite:///{home}/none.db", {"data_dir": home})
    argv = [sys.executable, "-m", "celery", *app, "doctor", "--adopt", name, *words]
    return run(argv, cwd=home, env={**env, "PYTHONPATH": str(ROOT)})


def notes(ended: subprocess.CompletedProcess[str], kind: str) -> dict[str, str]:
    """What is said, by what it is about; several sentences in one."""
    found: dict[str, str] = {}
    for note in json.loads(ended.stdout)["notes"]:
        if note["kind"] == kind:
            found[note["about"]] = found.get(note["about"], "") + note["sentence"] + "\n"
    return found


def test_a_project_that_cannot_move_is_told_all_that_blocks(tmp_path: Path) -> None:
    ended = adopt(tree(tmp_path, RISKY), "shop.celery:app", "--json")
    assert ended.returncode == 1, ended.stderr
    blocks, changes, plain = (notes(ended, kind) for kind in ("blocks", "change", "note"))
    assert blocks.keys() == {"broker", "results", "settings", "acks_late", "schedule", "versions"}
    assert "amqp" in blocks["broker"]
    assert "db+sqlite" in blocks["results"]
    assert "task_serializer" in blocks["settings"]
    assert "accept_content" in blocks["settings"]
    assert "shop/tasks.py:15 (shared_task(acks_late=False))" in blocks["acks_late"]
    assert "dusk" in blocks["schedule"]
    assert "requirements.txt: celery==5.2.7" in blocks["versions"]
    assert "SQLAlchemy<2" in blocks["versions"]
    assert "redis>=5" not in blocks["versions"]
    assert changes.keys() == {"priority", "request class", "schedule", "time zone", "alembic"}
    assert "apply_async(priority=9)" in changes["priority"]
    assert "9 is the most important there" in changes["priority"]
    assert plain.keys() == {"max_retries", "task class", "delays", "time limit"}
    assert "shop.tasks.Base" in plain["task class"]
    assert json.loads(ended.stdout)["blocking"] == sum(
        each["kind"] == "blocks" for each in json.loads(ended.stdout)["notes"]
    )
    assert "hunter2" not in ended.stdout + ended.stderr


def test_a_tree_that_cannot_be_imported_is_read(tmp_path: Path) -> None:
    """Nothing of it is imported: it would raise."""
    files: dict[str, Any] = {**RISKY, "shop/__init__.py": "import not_installed_here\n"}
    ended = adopt(tree(tmp_path, files), ".", "--json")
    assert ended.returncode == 1, ended.stderr
    assert notes(ended, "blocks").keys() == {"broker", "results", "settings", "acks_late", "versions"}
    assert {"task class", "max_retries"} <= notes(ended, "note").keys()
    assert {"request class", "priority", "alembic", "time zone"} <= notes(ended, "change").keys()
    assert "hunter2" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["proj.celery:app", "."])
def test_of_a_project_that_fits_nothing_is_said(name: str, tmp_path: Path) -> None:
    ended = adopt(tree(tmp_path, FITTING), name)
    assert (ended.returncode, ended.stdout.strip()) == (0, "0 blockers, 0 other notes"), ended.stderr


def test_the_app_of_the_command_line_may_be_the_plain_one(tmp_path: Path) -> None:
    home = tree(tmp_path, FITTING)
    assert adopt(home, "proj.celery:app", app=("-A", "proj")).returncode == 0
    (home / "proj" / "tasks.py").write_text(FITTING["proj/tasks.py"] + "add.apply_async(exchange='x')\n")
    # The call would publish: only the source is read.
    assert adopt(home, ".", app=("-A", "proj")).returncode == 1


def test_an_app_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    ended = adopt(tmp_path, "no_such_shop:app")
    assert ended.returncode == 2
    assert "cannot be imported" in ended.stderr
    assert "Traceback" not in ended.stderr


ROUTING = {
    "proj/__init__.py": "",
    "proj/celery.py": """
from celery import Celery
from proj.routers import by_name

app = Celery("proj", broker="redis://host/0", include=["proj.tasks"])
app.conf.task_time_limit = 300
app.conf.task_routes = ({"proj.tasks.bill": "invoices"}, by_name, "proj.routers.Slow", "proj.routers.broken")
""",
    "proj/routers.py": """
from kombu import Queue

def by_name(name, args, kwargs, options, task=None, **kw):
    return {"queue": Queue("mails")} if name.endswith("mail") else None

class Slow:
    def route_for_task(self, task, args=None, kwargs=None):
        return "payments.high" if task.endswith("bill") else None

def broken(name, args, kwargs, options, task=None, **kw):
    return {"queue": kwargs["tenant"]}
""",
    "proj/tasks.py": """
from celery import shared_task

@shared_task
def mail(to): ...

@shared_task
def bill(order): ...
""",
}


def test_routers_are_asked_where_the_tasks_go(tmp_path: Path) -> None:
    ended = adopt(tree(tmp_path, ROUTING), "proj.celery:app", "--json")
    assert ended.returncode == 0, ended.stderr
    assert "queues: invoices, mails, payments;" in notes(ended, "change")["queues"]
    assert "broken raised KeyError" in notes(ended, "note")["router"]


def test_a_router_that_cannot_be_imported_is_a_note(tmp_path: Path) -> None:
    routes = (
        ROUTING["proj/celery.py"].replace("from proj.routers import by_name\n", "").replace("by_name, ", "")
    )
    files = {**ROUTING, "proj/celery.py": routes.replace("proj.routers.Slow", "proj.nowhere.Slow")}
    ended = adopt(tree(tmp_path, files), "proj.celery:app", "--json")
    assert ended.returncode == 0, ended.stderr
    assert "proj.nowhere.Slow raised ModuleNotFoundError" in notes(ended, "note")["router"]
