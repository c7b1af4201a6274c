"""Apps that never imported ours send to Celery's default queue: their jobs run, doctor says whose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.operate.doctor import examine
from celeriac.operate.job import Job, jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.support import wait_until
from tests.workers import ROOT, Worker, environment

SHOP = """
from celery import shared_task

@shared_task(name="shop.charge")
def charge(order):
    return order
"""

#: In another process, which imports nothing but the module of its tasks.
SENDS = """
from shop import charge
charge.delay(1)
charge.apply_async((2,), priority=5)
"""


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = build(Settings(broker_url=redis_url, database_url=database_url), set_as_current=False)
    with closing(made.database):
        yield made
        made.close()


def test_what_a_process_without_the_app_sends_is_adopted_and_told(
    app: Celeriac, redis_url: str, database_url: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    """Its .delay() goes through Celery's default app, to the list "celery" and to one for its priority."""
    (tmp_path / "shop.py").write_text(SHOP)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    env = environment(redis_url, database_url, {"PYTHONPATH": path, "task_modules": "shop"})
    subprocess.run([sys.executable, "-c", SENDS], cwd=tmp_path, env=env, check=True, timeout=60)
    worker = start_worker(
        redis_url,
        database_url,
        settings={"PYTHONPATH": path, "task_modules": "shop"},
        options=("-Q", "normal"),
        concurrency=1,
    ).ready()

    def ended() -> list[Job]:
        assert worker.running
        return [each for each in jobs(app=app) if each.state in TERMINAL]

    found = wait_until(lambda: len(ended()) == 2 and ended(), within=60, saying="both jobs are adopted")
    assert {(each.queue, each.state, each.result) for each in found} == {
        ("normal", JobState.COMPLETED, 1),
        ("low", JobState.COMPLETED, 2),  # kombu's 5 is less important than none
    }
    told = {one.check: one.sentence for one in examine(app) if one.area == "broker"}
    assert told["adopted"].startswith(
        "2 jobs of the last day came from apps that do not know the ledger: shop.charge"
    )
    assert "lists" not in told
    assert "installations" not in told  # the worker is this ledger's own


#: Tasks that leave a line of JSON behind: what they are, and what they were given.
BENCH = """
import json, os
from celery import shared_task

def mark(name, value=None):
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (json.dumps([name, value]) + "\\n").encode())
    os.close(file)

@shared_task(name="bench.note")
def note(*args):
    mark(args[-1], args[:-1])

@shared_task(name="bench.failed")
def failed(request, exc, traceback):
    mark("errback", str(exc))

@shared_task(name="bench.add")
def add(x, y):
    return x + y

@shared_task(name="bench.boom", max_retries=0)
def boom():
    mark("boom")
    raise ValueError("boom")

@shared_task(name="bench.look", bind=True)
def look(self, name):
    of = self.request
    mark(name, {"stamps": of.stamps, "stamped": of.stamped_headers, "shadow": of.shadow,
                "retries": of.retries, "tenant": getattr(of, "tenant", None), "limit": of.timelimit})

@shared_task(name="bench.again", bind=True)
def again(self):
    mark(f"try {self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
"""

#: A producer that knows nothing of a ledger: each feature of a message of protocol 2.
FEATURES = """
import os
from celery import Celery, chain, chord, group
from bench import add, again, boom, look, note

app = Celery("plain", broker=os.environ["STORE"], backend=os.environ["STORE"])
app.set_default()

add.apply_async((1, 2), link=[note.s("callback"), note.s("callback 2")])
boom.apply_async(link_error=app.signature("bench.failed"))
chain(add.s(1, 1), add.s(2), note.s("chain"))()
group(note.si("member 1"), note.si("member 2"))()
chord([add.s(1, 1), add.s(2, 2)])(note.s("body"))
chord([boom.s(), add.s(2, 2)])(note.s("never").on_error(app.signature("bench.failed")))
stamped = look.s("stamped")
stamped.stamp(customer="c7")
stamped.apply_async()
look.apply_async(("shadow",), shadow="another name")
look.apply_async(("headers",), headers={"tenant": "t1"})
look.apply_async(("limits",), time_limit=50, soft_time_limit=40)
look.apply_async(("retries",), retries=2)
note.apply_async(("x" * 5000, "gzip"), compression="gzip")
note.apply_async(("x" * 5000, "bzip2"), compression="bzip2")
for priority in (0, 3, 6, 9):
    note.apply_async((f"priority {priority}",), priority=priority)
note.apply_async(("expired",), expires=-5)
note.apply_async(("in time",), expires=600)
note.apply_async(("eta",), countdown=3)
note.apply_async(("ignored",), ignore_result=True)
again.delay()
"""


def test_each_feature_of_a_plain_message_is_kept(
    app: Celeriac, redis_url: str, database_url: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> None:
    (tmp_path / "bench.py").write_text(BENCH)
    (tmp_path / "features.py").write_text(FEATURES)
    effects = tmp_path / "effects"
    more = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))), "STORE": redis_url}
    settings = {**more, "task_modules": "bench", "EFFECTS": effects, "enqueue_timeout": 60}
    env = environment(redis_url, database_url, settings)
    sent = datetime.now(UTC)
    subprocess.run([sys.executable, "features.py"], cwd=tmp_path, env=env, check=True, timeout=120)
    worker = start_worker(redis_url, database_url, settings=settings, options=("-Q", "normal")).ready()

    def left() -> list[list[Any]]:
        assert worker.running
        return [json.loads(line) for line in effects.read_text().splitlines()] if effects.exists() else []

    once = ["callback", "callback 2", "chain", "member 1", "member 2", "body", "stamped", "shadow", "headers"]
    once += ["limits", "retries", "gzip", "bzip2", "in time", "eta", "ignored", "try 0", "try 1", "try 2"]
    once += [f"priority {priority}" for priority in (0, 3, 6, 9)]
    wanted = Counter(once) + Counter({"boom": 2, "errback": 2})
    wait_until(lambda: not wanted - Counter(name for name, _ in left()), within=60, saying="all have run")
    wait_until(
        lambda: all(each.state in TERMINAL for each in jobs(limit=100, app=app)),
        within=60,
        saying="every job has ended",
    )
    assert Counter(name for name, _ in left()) == wanted  # once, and the expired one not at all
    values = dict(left())
    assert (values["callback"], values["chain"], values["body"]) == ([3], [4], [[2, 4]])
    assert (values["stamped"]["stamps"], values["stamped"]["stamped"]) == ({"customer": "c7"}, ["customer"])
    assert (values["shadow"]["shadow"], values["headers"]["tenant"]) == ("another name", "t1")
    assert (values["limits"]["limit"], values["retries"]["retries"]) == ([50, 40], 2)
    assert values["gzip"] == values["bzip2"] == ["x" * 5000]
    ended = {each.id: each for each in jobs(limit=100, app=app)}
    (late,) = [each for each in ended.values() if each.started and each.args == ["eta"]]
    assert late.started is not None
    assert late.started >= sent + timedelta(seconds=2)
    (expired,) = [each for each in ended.values() if each.args == ["expired"]]
    assert expired.state is JobState.CANCELLED
