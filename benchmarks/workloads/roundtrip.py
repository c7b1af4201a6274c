"""How long a producer waits for what a job returns, on a worker that is not busy."""

from __future__ import annotations

from benchmarks.figures import Figures, Measure, quantile
from benchmarks.side_list import REDIS_RESULTS
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_WARM = 20  # calls that are not counted: the first ones connect


def roundtrip(trial: Trial, jobs: int) -> Figures:
    """``.delay().get()``, the next one when the last one has answered."""
    with trial.worker() as worker:
        trial.enqueue(1)
        trial.ran(1, worker=worker)  # it is up
        times = trial.ask("round-trips", jobs, _WARM)
    milliseconds = [microseconds / 1e3 for microseconds in times]
    return {"p50": quantile(milliseconds, 0.5), "p99": quantile(milliseconds, 0.99), "max": max(milliseconds)}


ROUNDTRIP = Workload(
    name="roundtrip",
    title=".delay().get() of a job that returns a number, one by one, one prefork worker with two children",
    jobs=500,
    quick_jobs=50,
    measures=(
        Measure(key="p50", label="ms, p50", digits=2),
        Measure(key="p99", label="ms, p99", digits=2),
    ),
    measure=roundtrip,
    applies=lambda entry: entry.keeps_results,
    baseline=REDIS_RESULTS,  # plain Celery keeps no result
)
