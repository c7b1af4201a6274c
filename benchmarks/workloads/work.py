"""How fast a worker runs jobs that wait a few milliseconds without computing."""

from __future__ import annotations

from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_SECONDS = 0.005  # of time.sleep: children do not take the processor from each other


def work(trial: Trial, jobs: int) -> Figures:
    """As ``drain``; two children can do 400 jobs/s at most."""
    trial.ask("working", jobs, _SECONDS)
    with trial.worker() as worker:
        return {"rate": drained(trial, jobs, worker=worker).rate}


WORK = Workload(
    name="work",
    title=f"jobs that sleep {_SECONDS * 1e3:g} ms, already waiting, one prefork worker with two children",
    jobs=4_000,
    quick_jobs=200,
    measures=(Measure(key="rate", label="jobs/s"),),
    measure=work,
    applies=lambda entry: entry.feeds_children,
)
