"""How long after the call of ``.delay()`` a job starts, on a worker that is not busy."""

from __future__ import annotations

from benchmarks.figures import Figures, Measure, quantile
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_RATE = 20  # jobs a second
_WARM = 20  # jobs that are not counted: a producer that has just started


def latency(trial: Trial, jobs: int) -> Figures:
    """From before the call to the first line of the task; both read the same clock."""
    with trial.worker() as worker:
        trial.enqueue(1)
        trial.ran(1, worker=worker)  # it is up
        trial.ask("pace", jobs + _WARM, _RATE)
        for _ in trial.watch(lambda: len(trial.witness.waits()), jobs + _WARM, worker=worker):
            pass
    milliseconds = [seconds * 1e3 for seconds in trial.witness.waits()[_WARM:]]
    return {"p50": quantile(milliseconds, 0.5), "p99": quantile(milliseconds, 0.99), "max": max(milliseconds)}


LATENCY = Workload(
    name="latency",
    title=f"from .delay() to the start, {_RATE} jobs/s, one prefork worker with two children",
    jobs=400,
    quick_jobs=40,
    measures=(
        Measure(key="p50", label="ms, p50", digits=2),
        Measure(key="p99", label="ms, p99", digits=2),
    ),
    measure=latency,
)
