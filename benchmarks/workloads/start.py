"""How soon a worker runs its first job, how much memory it has then, and what a command costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import process_usage
from benchmarks.environments import ROOT
from benchmarks.figures import Figures, Measure
from benchmarks.side_list import CELERIAC, PLAIN, PREFORK, Entry
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from tests.processes import Process, scratch

_OURS = ("-A", "app", "worker", "-I", CELERIAC.module)
_WORDS = {
    PLAIN.name: ("-A", PLAIN.module, "worker", "-P", "prefork"),
    CELERIAC.name: _OURS,
    PREFORK.name: (*_OURS, "-P", "prefork"),
}
_OUR_COMMANDS = {
    "version": ("celery", "--version"),
    "celery": ("celery", "-A", "app", "jobs", "list"),
    "celeriac": ("celeriac", "-A", "app", "jobs", "list"),
}
_COMMANDS = {
    PLAIN.name: {"version": ("celery", "--version")},
    CELERIAC.name: _OUR_COMMANDS,
    PREFORK.name: _OUR_COMMANDS,
}
_TIMES = 3  # that a command is run; the cheapest counts, since the others waited for files or for a processor


def start(trial: Trial, jobs: int) -> Figures:
    trial.enqueue(jobs)
    # By exec: a fork of a Python that has imported Celery would start at once.
    argv = [_script("celery"), *_WORDS[trial.entry.name], "-c", "2"]
    begin = time.monotonic()
    with Process(argv, log=scratch("worker") / "log", cwd=ROOT, env=trial.environment) as worker:
        ready = trial.ran(jobs, worker=worker)
        spent = process_usage.processor_time_of_tree(worker.pid)
        figures = {"seconds": ready.at - begin, "cpu": spent, "pss": process_usage.shared_fairly(worker.pid)}
        worker.send(signal.SIGTERM)
        worker.wait(20)
    commands = _COMMANDS[trial.entry.name]
    return figures | {name: _cost(trial, words) for name, words in commands.items()}


def _cost(trial: Trial, words: tuple[str, ...]) -> float:
    """Seconds of a core that a command takes."""
    script, *rest = words
    costs = []
    for _ in range(_TIMES):
        before = os.times()
        subprocess.run([_script(script), *rest], cwd=ROOT, env=trial.environment, capture_output=True)
        after = os.times()
        costs.append(sum(after[2:4]) - sum(before[2:4]))
    return min(costs)


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _applies(entry: Entry) -> bool:
    return entry.name in _WORDS


START = Workload(
    name="start",
    title="start of a prefork worker with two children, until its first job has run; commands",
    jobs=1,
    quick_jobs=1,
    measures=(
        Measure(key="seconds", label="s until the first job has run", digits=2),
        Measure(key="cpu", label="s of a core until then", digits=2),
        Measure(key="pss", label="MiB then, with its children (PSS)", digits=1),
        Measure(key="version", label="s of a core: celery --version", digits=2, compared=False),
        Measure(key="celery", label="s of a core: celery -A app jobs list", digits=2, against="version"),
        Measure(key="celeriac", label="s of a core: celeriac -A app jobs list", digits=2, against="version"),
    ),
    measure=start,
    applies=_applies,
)
