"""``doctor --adopt`` on a plain Celery app, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.workers import ROOT, environment

PLAIN = """
from celery import Celery, shared_task

app = Celery("plain", broker="amqp://me:hunter2@host", backend="db+sqlite:///results.db")
app.conf.update(task_serializer="pickle", accept_content=["pickle"])
app.conf.update(task_routes={"shop.*": {"queue": "mails"}})

@app.task
def ship(order): ...

@shared_task(name="shop.bill", acks_late=False)
def bill(order):
    ship.apply_async([order], countdown=60)
"""


def adopt(tmp_path: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "shop.py").write_text(PLAIN)
    env = environment("redis://127.0.0.1:1/0", f"sqlite:///{tmp_path}/none.db", {"data_dir": tmp_path})
    argv = [sys.executable, "-m", "celery", "-A", "app", "doctor", "--adopt", name, *words]
    return subprocess.run(
        argv, cwd=ROOT, env={**env, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )


def test_a_plain_app_is_told_its_risks(tmp_path: Path) -> None:
    ended = adopt(tmp_path, "shop:app", "--json")
    assert ended.returncode == 1, ended.stderr
    told = json.loads(ended.stdout)
    about = {note["about"]: note["sentence"] for note in told["notes"]}
    risks = {"broker", "results", "serializer", "accept_content", "acks_late", "names"}
    assert risks <= about.keys()
    assert "shop.bill" in about["acks_late"]
    assert "apply_async(countdown=…)" in about["delays"]
    assert "(ship)" in about["names"]
    assert "hunter2" not in ended.stdout + ended.stderr


def test_an_app_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    ended = adopt(tmp_path, "no_such_shop:app")
    assert ended.returncode == 2
    assert "cannot be imported" in ended.stderr
    assert "Traceback" not in ended.stderr
