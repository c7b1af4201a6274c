"""How fast a worker drains jobs that do nothing and wait already."""

from __future__ import annotations

from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload

#: The rate is taken from here on: what comes before is the worker's start.
_WARM = 0.05  # share of the jobs


def drain(trial: Trial, jobs: int, *, pool: str = "prefork", concurrency: int = 2) -> Figures:
    """One worker; to the moment at which all jobs are done, on record where the side keeps one."""
    trial.enqueue(jobs)
    with trial.worker(pool=pool, concurrency=concurrency) as worker:
        begin = trial.ran(max(1, int(jobs * _WARM)), worker=worker)
        witnessed = trial.ran(jobs, worker=worker)
        end = trial.finished(jobs, worker=worker)
    return {
        "rate": (jobs - begin.count) / (end.at - begin.at),
        "witnessed_rate": (jobs - begin.count) / (witnessed.at - begin.at),
    }


DRAIN = Workload(
    name="drain",
    title="no-op jobs, already waiting, one prefork worker with two children",
    jobs=8_000,
    quick_jobs=300,
    measures=(Measure(key="rate", label="jobs/s"),),
    measure=drain,
)
