"""Workers that are killed, frozen, stopped and replaced: what they held runs elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.faults.drill import Drill
from tests.support import wait_until
from tests.witness import END, START

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SECONDS_LATER = 5.0  # until what a cold shutdown gave back runs elsewhere


def test_every_child_is_killed(drill: Drill) -> None:
    drill.house.man(1)
    drill.enqueue(20, seconds=0.5)
    for _ in range(3):
        for pid in {m.pid for m in drill.begun(2)}:
            drill.kill_child(pid)
    drill.over()
    drill.ends(recovery=20 * 0.5 / 2 + 5 + 3)  # the work itself, and what its children lost


def test_a_worker_is_frozen_past_its_heartbeat_and_thawed(drill: Drill) -> None:
    victim, _ = drill.house.man(2)
    drill.enqueue(40, seconds=1)
    drill.begun(2, pids=victim.children())
    frozen = victim.children()
    victim.freeze()
    hit = drill.hit(victim)
    wait_until(lambda: not drill.held_by(drill.house.worker_id(victim)), within=40, saying="it is rescued")
    wait_until(lambda: hit <= drill.witness.ends().keys(), within=40, saying="its jobs are done elsewhere")
    victim.thaw()
    drill.over()
    victim.logged("late outcome refused", within=20)
    drill.ends()
    drill.enqueue(20, seconds=0.3)
    wait_until(
        lambda: {m.pid for m in drill.running()} & {*victim.children(), *frozen},
        within=20,
        saying="the thawed worker works again",
    )
    drill.over()
    drill.ends()


def test_a_deploy_under_load(drill: Drill) -> None:
    old = drill.house.man(2)
    with drill.load(rate=30):
        drill.flows()
        long = set(drill.enqueue(2, seconds=40, priority="high"))  # one worker has room for both
        pids = [pid for worker in old for pid in worker.children()]
        wait_until(
            lambda: long <= {m.job_id for m in drill.running(pids)}, within=30, saying="the long ones run"
        )
        for worker in old:
            worker.term()
        new = [drill.house.hire() for _ in old]
        for worker in new:
            worker.ready(within=60)
        hit = drill.hit(*old)
        for worker in old:
            worker.kill()
        drill.over()
    drill.ends(recovery=90)  # the long ones take their time
    assert hit, "the old ones were done before the new ones were there"
    again = [drill.since_over(m) for m in drill.witness.marks() if m.job_id in hit and m.event == "start"]
    assert max(again) <= 20, sorted(again)


def test_a_cold_shutdown_gives_back_uncounted(drill: Drill) -> None:
    victim, _ = drill.house.man(2)
    drill.enqueue(4, seconds=4)
    drill.begun(2, pids=victim.children())
    mine = {m.job_id for m in drill.running(victim.children())}
    drill.may_run_again(mine)
    began = time.time()
    victim.quit()
    drill.over()
    wait_until(
        lambda: all(drill.witness.starts()[job] == 2 for job in mine), within=30, saying="they run elsewhere"
    )
    again = max(m.at for m in drill.witness.marks() if m.job_id in mine)
    line = drill.ends(recovery=30, uncounted=True)
    assert again - began <= SECONDS_LATER + 4  # the other is busy for so long
    assert line.again == len(mine)
    assert {row.tries for row in drill.rows().values()} == {1}
    assert victim.wait(10) is not None


@contextmanager
def _clock(shift: int, directory: Path) -> Iterator[dict[str, str]]:
    """Settings of a process in which ``time.time`` is wrong by so many seconds.

    ``datetime.now`` reads the system's clock itself and is not shifted.
    """
    (directory / "sitecustomize.py").write_text(
        "import time\n"
        "_time, _time_ns = time.time, time.time_ns\n"
        f"time.time = lambda: _time() + {shift}\n"
        f"time.time_ns = lambda: _time_ns() + {shift} * 10**9\n"
    )
    yield {"PYTHONPATH": os.pathsep.join([str(directory), *sys.path])}


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_the_workers_clocks_are_an_hour_wrong(shift: int, drill: Drill, tmp_path: Path) -> None:
    with _clock(shift, tmp_path) as settings:
        drill.house.settings |= settings
        victim, _ = drill.house.man(2)
    drill.enqueue(60, seconds=0.1)
    drill.enqueue(20, countdown=2)
    drill.begun(2)
    victim.kill()
    drill.hit(victim)
    drill.over()
    drill.clock = shift  # the marks are on the wrong clock, too
    drill.ends()
    lag = drill.start_lags()
    assert len(lag) == 80
    assert min(lag) >= 0


@pytest.mark.parametrize("shift", [-7200, 7200])
def test_the_start_lag_with_a_clock_two_hours_off(shift: int, drill: Drill, tmp_path: Path) -> None:
    with _clock(shift, tmp_path) as settings:
        wrong = drill.house.hire(settings=settings)
        wrong.ready(within=60)
    drill.house.man(2)
    drill.enqueue(20, countdown=3)
    with drill.load(rate=20, seconds=0.0, lasting=4):
        drill.flows(20)
        drill.over()
    drill.clocks = dict.fromkeys(wrong.children(), shift)
    begun = [m for m in drill.witness.marks() if m.event == "start"]
    assert {m.pid in drill.clocks for m in begun} == {True, False}, "both had their share"
    due = drill.due()
    lag = max(drill.at(m) - due[m.job_id] for m in begun)
    assert lag <= 1.0, f"one began {lag:.2f} s after it was due"
    drill.ends()


@contextmanager
def _supervised(drill: Drill, count: int, **options: object) -> Iterator[None]:
    """Workers that are started again when they die."""
    stop = threading.Event()
    wanted = drill.house.man(count, **options)

    def run() -> None:
        while not stop.wait(0.5):
            for worker in wanted:
                if not worker.running:
                    worker.start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def test_poison_that_kills_its_worker(drill: Drill) -> None:
    with _supervised(drill, 2, pool="solo"):
        app = drill.house.app
        poison = str(app.tasks["tests.kill_self"].apply_async(args=(signal.SIGKILL,), max_tries=2).id)
        drill.accept([poison])
        drill.failing.add(poison)
        drill.allow_all_again()
        drill.enqueue(100, seconds=0.05)
        drill.over()
        drill.ends(recovery=45)
    assert "lost" in str(drill.rows()[poison].failure)
    assert drill.rows()[poison].tries == 2


def test_poison_that_kills_its_child(drill: Drill) -> None:
    _among_others(drill, "tests.kill_self", signal.SIGKILL)  # as the kernel does when memory is short
    poison = drill.rows()[drill.failing.pop()]
    assert "lost" in str(poison.failure)
    assert poison.tries == 5


def test_a_child_out_of_memory(drill: Drill) -> None:
    worker, *_ = drill.house.man(1)
    children = worker.children()
    _among_others(drill, "tests.exhaust", max_tries=1)
    poison = drill.rows()[drill.failing.pop()]
    assert "error: MemoryError" in str(poison.failure)
    assert worker.children() == children


def _among_others(drill: Drill, task: str, *args: object, **options: object) -> None:
    """One job that can only fail and sixty that sleep: they keep their pace beside it.

    Their pace is that of sixty others before, on the same worker: this machine may be busy.
    """
    drill.house.man(1)
    drill.enqueue(10)
    drill.flows(10)  # the worker is warm
    alone = _took(drill, drill.enqueue(60, seconds=0.1))
    poison = str(drill.house.app.tasks[task].apply_async(args=args, **options).id)
    drill.accept([poison])
    drill.failing.add(poison)
    others = drill.enqueue(60, seconds=0.1)
    drill.over()
    drill.ends()
    took = _took(drill, others)
    assert took <= 2 * alone, f"the others took {took:.1f} s, without it they took {alone:.1f} s"


def _took(drill: Drill, ids: Sequence[str]) -> float:
    """Seconds from the begin of the first to the end of the last of jobs, once all of them have ended."""
    wanted = set(ids)

    def marks(event: str) -> list[float]:
        return [mark.at for mark in drill.witness.marks() if mark.job_id in wanted and mark.event == event]

    wait_until(lambda: len(marks(END)) >= len(wanted), within=120, saying="they have ended")
    return max(marks(END)) - min(marks(START))


def test_jobs_that_hang(drill: Drill) -> None:
    drill.house.man(1)
    task = drill.house.app.tasks["tests.hang"]
    hung = {str(task.apply_async(args=(True,), time_limit=2, max_tries=1).id) for _ in range(2)}
    drill.accept(sorted(hung))
    drill.failing |= hung
    drill.enqueue(20)
    drill.over()
    drill.ends()
    assert all("timeout" in str(drill.rows()[job].failure) for job in hung)
