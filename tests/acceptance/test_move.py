"""A plain Celery project moves under load: workers first, producers second. Nothing is lost or run twice.

Its module ``proj.celery`` makes a plain app or one of ours by a variable: the change of a real move.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from celery import Celery

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import job
from tests.processes import Process
from tests.producers import producing
from tests.support import wait_until
from tests.workers import ROOT, environment

PROJECT = {
    "proj/__init__.py": "from proj.celery import app as celery_app\n",
    "proj/celery.py": """
import os

if os.environ.get("MOVED"):
    from celeriac import Celeriac as Celery
else:
    from celery import Celery

app = Celery("proj", broker=os.environ["STORE"], backend=os.environ["STORE"], include=["proj.tasks"])
""",
    "proj/tasks.py": """
import os
from celery import shared_task

def mark(key):
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{key}\\n".encode())
    os.close(file)

@shared_task
def single(key):
    mark(key)

@shared_task
def add(x, y, key):
    mark(key)
    return x + y

@shared_task
def total(numbers, key):
    mark(f"{key}={sum(numbers)}")

@shared_task(bind=True, max_retries=3)
def stubborn(self, key):
    mark(f"{key} try {self.request.retries}")
    raise self.retry(exc=ValueError("never"), countdown=1)

@shared_task(bind=True, max_retries=3)
def flaky(self, key):
    if self.request.retries == 0:
        mark(f"{key} first")
        raise self.retry(countdown=1)
    mark(f"{key} second")
""",
    # Writes how many rounds it has sent, until it is told that these are enough.
    "produce.py": """
import os, sys, threading
from pathlib import Path
from celery import chain, chord
from proj.tasks import add, flaky, single, total

name, folder, n = sys.argv[1], Path(sys.argv[2]), 0
while not (folder / f"{name}.enough").exists():
    key = f"{name}{n}"
    single.delay(f"{key} single")
    single.apply_async((f"{key} later",), countdown=2)
    flaky.delay(f"{key} flaky")
    chain(add.s(1, 2, f"{key} link1"), add.s(3, f"{key} link2"), add.s(4, f"{key} link3"))()
    chord([add.s(n, number, f"{key} member{number}") for number in range(3)])(total.s(f"{key} body"))
    n += 1
    (folder / f"{name}.sent").write_text(str(n))
    threading.Event().wait(0.3)
""",
}

#: What one round leaves behind, of round ``n``.
EFFECTS = (
    *("single", "later", "flaky first", "flaky second", "link1", "link2", "link3"),
    *("member0", "member1", "member2"),
)


class Move:
    """The project's processes, plain or moved."""

    def __init__(self, home: Path, env: dict[str, str], processes: ExitStack) -> None:
        self._home, self._env, self._processes = home, env, processes
        self._effects = Path(env["EFFECTS"])

    def start(self, name: str, *words: str, moved: bool, more: Mapping[str, str] | None = None) -> Process:
        env = self._env | ({"MOVED": "1"} if moved else {}) | (more or {})
        log = self._home / f"{name}.log"
        process = Process([sys.executable, *words], log=log, cwd=self._home, env=env)
        self._processes.callback(lambda: print(process.tail(20)))
        return self._processes.enter_context(process)

    def worker(self, name: str, *, moved: bool) -> Process:
        words = (
            "-m",
            "celery",
            "-A",
            "proj",
            "worker",
            "-c",
            "2",
            "-n",
            f"{name}@test",
            "--loglevel",
            "INFO",
        )
        found = self.start(name, *words, moved=moved)

        def ready() -> bool:
            assert found.status is None, found.tail()
            return f"{name}@test ready." in found.log.read_text(errors="replace")

        wait_until(ready, within=30, saying=f"worker {name} is ready")
        return found

    def producer(self, name: str, *, moved: bool) -> Process:
        # A busy machine may be slow to commit.
        more = {"CELERIAC_ENQUEUE_TIMEOUT": "60"}
        return self.start(name, "produce.py", name, str(self._home), moved=moved, more=more)

    def call(self, code: str) -> str:
        """What one line of a plain producer prints."""
        name = f"call-{len(code)}"
        one = self.start(name, "-c", f"import proj\nfrom proj.tasks import *\n{code}", moved=False)
        assert one.wait(30) == 0, one.tail()
        return one.log.read_text().strip()

    def sent(self, name: str) -> int:
        file = self._home / f"{name}.sent"
        return int(file.read_text() or 0) if file.exists() else 0

    def enough(self, name: str, producer: Process) -> int:
        """End a producer after the round that it is at; returns how many rounds it sent."""
        (self._home / f"{name}.enough").touch()
        assert producer.wait(30) == 0, producer.tail()
        return self.sent(name)

    def sends(self, name: str, producer: Process, *, more: int) -> None:
        """Wait until it has sent so many more rounds."""
        wanted = self.sent(name) + more

        def reached() -> bool:
            assert producer.status is None, producer.tail()
            return self.sent(name) >= wanted

        wait_until(reached, within=60, saying=f"{name} has sent {wanted} rounds")

    def effects(self) -> Counter[str]:
        return Counter(self._effects.read_text().splitlines() if self._effects.exists() else ())


@pytest.fixture
def move(redis_url: str, postgres_url: str, tmp_path: Path) -> Iterator[Move]:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    more = {"PYTHONPATH": path, "STORE": redis_url, "EFFECTS": tmp_path / "effects"}
    env = environment(redis_url, postgres_url, more)
    with ExitStack() as processes:
        yield Move(tmp_path, env, processes)


def expected(name: str, rounds: int) -> Counter[str]:
    found = Counter(f"{name}{n} {what}" for n in range(rounds) for what in EFFECTS)
    return found + Counter(f"{name}{n} body={3 * n + 3}" for n in range(rounds))


@pytest.mark.slow
def test_a_move_under_load_loses_nothing_and_runs_nothing_twice(move: Move) -> None:
    old = move.worker("old", moved=False)
    plain = move.producer("plain", moved=False)
    move.sends("plain", plain, more=5)

    new = move.worker("new", moved=True)  # workers first: both kinds draw from the same list
    move.sends("plain", plain, more=5)
    old.send(signal.SIGTERM)  # a warm shutdown gives back what waits in its memory
    assert old.wait(60) == 0
    move.sends("plain", plain, more=5)  # plain producers with our workers alone

    ours = move.producer("ours", moved=True)  # producers second, one after the other
    move.sends("ours", ours, more=3)
    wanted = expected("plain", move.enough("plain", plain))
    move.sends("ours", ours, more=3)
    wanted += expected("ours", move.enough("ours", ours))

    def left() -> bool:
        assert new.status is None, new.tail()
        return not wanted - move.effects()

    wait_until(left, within=60, saying="every effect is there")
    assert move.effects() == wanted


def test_a_task_in_the_middle_of_its_retries_goes_on_with_its_count(
    move: Move, redis_url: str, postgres_url: str
) -> None:
    """Its tries of before are counted, none is made twice, and it fails once, when all are made."""
    old = move.worker("old", moved=False)
    id = move.call("print(stubborn.delay('s').id)")
    wait_until(lambda: move.effects()["s try 0"], within=30, saying="the plain worker has tried it")
    old.send(signal.SIGTERM)  # the retry waits in its memory, or is on its way
    assert old.wait(60) == 0
    tried_there = sum(move.effects().values())
    move.worker("new", moved=True)
    with producing(redis_url, postgres_url) as app:

        def failed() -> bool:
            return move.effects()["s try 3"] > 0 and job(id, app=app).state is JobState.FAILED

        wait_until(failed, within=60, saying="its last try has failed")
        ended = job(id, app=app)
    assert move.effects() == Counter(f"s try {n}" for n in range(4))
    assert ended.try_count == 4 - tried_there
    seen = Celery(broker=redis_url, backend=redis_url).AsyncResult(id)
    with pytest.raises(ValueError, match="never"):
        seen.get(timeout=10)
