"""Whether a worker's main process grows with the jobs that it has run."""

from __future__ import annotations

from benchmarks import process_usage
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_STEPS = 10


def memory(trial: Trial, jobs: int) -> Figures:
    """Resident memory after each tenth of the jobs, when the worker has nothing to do."""
    step = max(1, jobs // _STEPS)
    sizes: Figures = {}
    with trial.worker() as worker:
        for done in range(step, step * _STEPS + 1, step):
            trial.enqueue(step)
            trial.finished(done, worker=worker)
            sizes[f"after_{done}"] = process_usage.resident(worker.pid)
    first, *_, last = sizes.values()
    return {"first": first, "last": last, "growth": (last / first - 1) * 100, **sizes}


MEMORY = Workload(
    name="memory",
    title="resident memory of the main process, one prefork worker with two children",
    jobs=100_000,
    quick_jobs=300,
    repeat=1,  # many minutes each
    quick=False,
    measures=(
        Measure(key="first", label="MiB after a tenth of the jobs", digits=1),
        Measure(key="last", label="MiB after all of them", digits=1),
        Measure(key="growth", label="% grown in between", digits=1, compared=False),
    ),
    measure=memory,
    applies=lambda entry: entry.feeds_children,
)
