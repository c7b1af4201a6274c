"""How fast a worker runs jobs that take some milliseconds, asleep or computing."""

from __future__ import annotations

from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload

#: Milliseconds of a job, and which share of the jobs take so long: each size has about as many seconds.
_SIZES = {1: 1.0, 5: 0.5, 20: 0.125, 50: 0.05}

#: The field of ``Side`` that enqueues such a job, and its word in the table. Children that are asleep do not
#: take the processor from the main process; those that compute do.
_KINDS = {"work": "asleep", "compute": "computing"}


def work(trial: Trial, jobs: int) -> Figures:
    """As ``drain``, one size after the other, each with a worker of its own."""
    figures, before = {}, 0
    for kind in _KINDS:
        for size, share in _SIZES.items():
            count = max(20, int(jobs * share))
            trial.ask("working", count, size / 1e3, kind)
            with trial.worker() as worker:
                figures[f"{kind}_{size}"] = drained(trial, count, worker=worker, before=before).rate
            before += count
    return figures


WORK = Workload(
    name="work",
    title="jobs that take so many ms, already waiting, one prefork worker with two children",
    jobs=4_000,
    quick_jobs=200,
    measures=tuple(
        Measure(key=f"{kind}_{size}", label=f"jobs/s, {size} ms {word}")
        for kind, word in _KINDS.items()
        for size in _SIZES
    ),
    measure=work,
    applies=lambda entry: entry.feeds_children,
)
