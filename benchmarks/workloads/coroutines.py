"""How fast two processes run jobs that wait: coroutines, beside threads that wait."""

from __future__ import annotations

from contextlib import AbstractContextManager

from benchmarks.figures import Figures, Measure
from benchmarks.side_list import CELERIAC, PLAIN
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from tests.processes import Process

_SECONDS = 0.1
_AT_A_TIME = 100  # in each of two workers


def coroutines(trial: Trial, jobs: int) -> Figures:
    """From the start of the workers, jobs waiting, to the last outcome."""
    if trial.entry == PLAIN:
        trial.ask("working", jobs, _SECONDS, "work")
    else:
        trial.ask("awaiting", jobs, _SECONDS)
    with _workers(trial) as workers:
        first = trial.ran(1, worker=workers)
        last = trial.finished(jobs, worker=workers)
    return {"seconds": last.at - first.at}


def _workers(trial: Trial) -> AbstractContextManager[Process]:
    if trial.entry == CELERIAC:  # one worker, with two children
        return trial.worker(words=("--async-concurrency", str(_AT_A_TIME)))
    return trial.worker(pool="threads", concurrency=_AT_A_TIME, number=2)


COROUTINES = Workload(
    name="coroutines",
    title=f"jobs that wait {_SECONDS * 1e3:g} ms, two processes that run {_AT_A_TIME} at a time",
    jobs=10_000,
    quick_jobs=500,
    repeat=3,
    measures=(Measure(key="seconds", label="s from the first job to the last outcome", digits=1),),
    measure=coroutines,
    applies=lambda entry: entry in (PLAIN, CELERIAC),
)
