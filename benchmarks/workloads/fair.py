"""What a fair queue costs, and how long a job waits behind the many of another tenant."""

from __future__ import annotations

from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure, quantile
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from tests.processes import Process

_BEHIND = 100_000  # jobs of the other tenant
_QUICK = 1_000  # the same, where few jobs are asked for
_SECONDS = 0.005  # that each of these sleeps
_SINGLE = 40  # jobs whose start is timed, two a second
_RATE = 2


def fair(trial: Trial, jobs: int) -> Figures:
    """Drained in turn without and with fairness; then single jobs, alone and behind many."""
    trial.enqueue(jobs)
    with trial.worker() as worker:
        plain = drained(trial, jobs, worker=worker).rate
    trial.environment["CELERIAC_FAIR_BY"] = "user_id"
    trial.enqueue(jobs)
    with trial.worker() as worker:
        rate = drained(trial, jobs, worker=worker, before=jobs).rate
    with trial.worker() as worker:
        alone = _waits(trial, worker)
    trial.ask("many_working", _BEHIND if jobs > _QUICK else _QUICK, _SECONDS, "large")
    with trial.worker() as worker:
        behind = _waits(trial, worker)
    return {
        "plain": plain,
        "rate": rate,
        "share": rate / plain * 100,
        "alone": quantile(alone, 0.99),
        "behind": quantile(behind, 0.99),
    }


def _waits(trial: Trial, worker: Process) -> list[float]:
    """Milliseconds from the call to the start of jobs of a tenant that has no other."""
    before = len(trial.witness.waits())
    trial.ask("pace", 1, _RATE)
    for _ in trial.watch(lambda: len(trial.witness.waits()), before + 1, worker=worker):
        pass  # it is up
    before = len(trial.witness.waits())
    trial.ask("pace", _SINGLE, _RATE)
    for _ in trial.watch(lambda: len(trial.witness.waits()), before + _SINGLE, worker=worker):
        pass
    return [seconds * 1e3 for seconds in trial.witness.waits()[before:]]


FAIR = Workload(
    name="fair",
    title=f"a fair queue: its rate, and single jobs behind {_BEHIND:,} of another tenant",
    jobs=8_000,
    quick_jobs=300,
    repeat=3,
    quick=False,
    usual=False,
    measures=(
        Measure(key="plain", label="jobs/s, not fair"),
        Measure(key="rate", label="jobs/s, fair"),
        Measure(key="share", label="% of the rate"),
        Measure(key="alone", label="ms to the start, alone, p99", digits=1),
        Measure(key="behind", label="ms behind many, p99", digits=1),
    ),
    measure=fair,
    applies=lambda entry: entry == CELERIAC,
)
