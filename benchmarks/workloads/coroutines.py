"""How fast two processes run jobs that wait: coroutines, beside threads that wait."""

from __future__ import annotations

from benchmarks.figures import Figures, Measure
from benchmarks.side_list import CELERIAC, PLAIN
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_SECONDS = 0.1
_AT_A_TIME = 100  # in each of two workers


def coroutines(trial: Trial, jobs: int) -> Figures:
    """From the start of the workers, jobs waiting, to the last outcome."""
    trial.ask("awaiting" if trial.entry == CELERIAC else "working", jobs, _SECONDS)
    with trial.worker(pool="threads", concurrency=_AT_A_TIME, number=2) as workers:
        first = trial.ran(1, worker=workers)
        last = trial.finished(jobs, worker=workers)
    return {"seconds": last.at - first.at}


COROUTINES = Workload(
    name="coroutines",
    title=f"jobs that wait {_SECONDS * 1e3:g} ms, two workers with -P threads -c {_AT_A_TIME}",
    jobs=10_000,
    quick_jobs=500,
    repeat=3,
    measures=(Measure(key="seconds", label="s from the first job to the last outcome", digits=1),),
    measure=coroutines,
    applies=lambda entry: entry in (PLAIN, CELERIAC),
)
