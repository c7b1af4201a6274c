"""What a prune costs the jobs that run meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from benchmarks import filled_ledger
from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.trial_servers import Scale
from benchmarks.workload import Workload

#: Rows to prune, more than go while a drain lasts.
_OLD: Mapping[Scale, int] = {Scale.QUICK: 100_000, Scale.USUAL: 1_000_000}
_AGE = 8  # days, of the youngest of these: they are kept for 7

_LEFT = "SELECT count(*) FROM background_jobs WHERE queued < now() - interval '7 days'"


def pruning(trial: Trial, jobs: int) -> Figures:
    """The same ledger twice: first left alone, then while what is old is deleted."""
    trial.enqueue(1)
    with trial.worker() as worker:
        trial.finished(1, worker=worker)  # the row to copy
    filled_ledger.finished(trial, trial.stage.scale.of(_OLD), age=_AGE)
    alone = _rate(trial, jobs, beside=nullcontext())
    meanwhile = _rate(trial, jobs, beside=trial.meanwhile("prune"))
    row = trial.database.execute(_LEFT).fetchone()
    return {"alone": alone, "rate": meanwhile, "kept": meanwhile / alone, "left": int(row[0]) if row else 0}


def _rate(trial: Trial, jobs: int, *, beside: AbstractContextManager[object]) -> float:
    known = trial.witness.done()
    recorded = filled_ledger.done(trial, known + jobs)
    trial.enqueue(jobs)
    with trial.worker() as worker, beside:
        return drained(trial, jobs, worker=worker, before=known, recorded=recorded).rate


PRUNING = Workload(
    name="pruning",
    title="no-op jobs, already waiting, one prefork worker with two children, while old rows are deleted",
    jobs=8_000,
    quick_jobs=300,
    repeat=3,
    quick=False,
    usual=False,
    measures=(
        Measure(key="alone", label="jobs/s, no prune", compared=False),
        Measure(key="rate", label="jobs/s, while pruning", compared=False),
        Measure(key="kept", label="while pruning ÷ without", digits=2, compared=False),
        Measure(key="left", label="old rows left (0: the prune ended early)", compared=False),
    ),
    measure=pruning,
    applies=lambda entry: entry == CELERIAC,  # whose table is filled
)
