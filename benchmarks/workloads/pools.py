"""How fast two workers drain that run jobs in their own process, beside one worker with two children."""

from __future__ import annotations

from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_POOLS = ("prefork", "solo", "threads")


def pools(trial: Trial, jobs: int) -> Figures:
    """Two processes that run jobs, whatever the pool."""
    rates = {pool: _rate(trial, jobs, pool) for pool in _POOLS}
    return {**rates, **{f"{pool}_beside": rates[pool] for pool in _POOLS[1:]}}


def _rate(trial: Trial, jobs: int, pool: str) -> float:
    before = trial.witness.done()
    trial.enqueue(jobs)
    concurrency, number = (2, 1) if pool == "prefork" else (1, 2)
    with trial.worker(pool=pool, concurrency=concurrency, number=number) as workers:
        return drained(trial, jobs, worker=workers, before=before).rate


POOLS = Workload(
    name="pools",
    title="no-op jobs, already waiting, one prefork worker with two children or two workers of one job each",
    jobs=8_000,
    quick_jobs=300,
    measures=(
        Measure(key="prefork", label="jobs/s, prefork"),
        Measure(key="solo", label="jobs/s, two with -P solo"),
        Measure(key="threads", label="jobs/s, two with -P threads -c 1"),
        Measure(key="solo_beside", label="jobs/s, solo ÷ prefork", against="prefork"),
        Measure(key="threads_beside", label="jobs/s, threads ÷ prefork", against="prefork"),
    ),
    measure=pools,
    applies=lambda entry: entry.feeds_children,
)
