"""How fast a worker runs waiting jobs that do nothing."""

from __future__ import annotations

from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload


def drain(trial: Trial, jobs: int) -> Figures:
    """One worker; to the moment at which all jobs are done, on record where the side keeps one."""
    trial.enqueue(jobs)
    with trial.worker() as worker:
        done = drained(trial, jobs, worker=worker)
    return {"rate": done.rate, "witnessed_rate": done.witnessed_rate}


DRAIN = Workload(
    name="drain",
    title="no-op jobs, already waiting, one prefork worker with two children",
    jobs=8_000,
    quick_jobs=300,
    measures=(Measure(key="rate", label="jobs/s"),),
    measure=drain,
)
