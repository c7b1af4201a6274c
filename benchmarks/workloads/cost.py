"""The cost of a job: CPU seconds, and statements of the ledger."""

from __future__ import annotations

from benchmarks import process_usage, statements
from benchmarks.drain_time import WARM
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from tests.processes import Process


def cost(trial: Trial, jobs: int) -> Figures:
    """Two drains: the second one's statements are counted, which costs time itself."""
    trial.enqueue(jobs)
    figures = _processor(trial, jobs)
    if trial.entry.recorded:
        statements.count(trial.database)
        trial.enqueue(jobs)
        figures |= _statements(trial, jobs)
    return figures


def _processor(trial: Trial, jobs: int) -> Figures:
    """Milliseconds of a core for each job: of the worker with its children, and of both servers."""
    with trial.worker() as worker:
        begin = trial.ran(int(jobs * WARM), worker=worker)
        before = _spent(trial, worker)
        trial.finished(jobs, worker=worker)
        after = _spent(trial, worker)
    each = {name: (after[name] - before[name]) * 1e3 / (jobs - begin.count) for name in after}
    return {"total": sum(each.values()), **each}


def _spent(trial: Trial, worker: Process) -> Figures:
    processes = {
        "worker": worker,
        "broker": trial.stage.valkey.process,
        "database": trial.stage.postgres.process,
    }
    return {name: process_usage.processor_time_of_tree(process.pid) for name, process in processes.items()}


def _statements(trial: Trial, jobs: int) -> Figures:
    with trial.worker() as worker:
        begin = trial.ran(jobs + int(jobs * WARM), worker=worker)
        before = statements.calls(trial.database)
        end = trial.finished(2 * jobs, worker=worker)
        during = statements.calls(trial.database) - before
        by_the_clock = statements.idle(trial.database)
    of_jobs = sum(n for key, n in during.items() if key not in by_the_clock and not key[1])
    framing = sum(n for key, n in during.items() if key[1])
    timed = 2 * jobs - begin.count
    return {
        "statements": of_jobs / timed,
        "framing": framing / timed,
        "other": (during.total() - of_jobs - framing) / (end.at - begin.at),
    }


COST = Workload(
    name="cost",
    title="processor time and statements of a drain, one prefork worker with two children",
    jobs=8_000,
    quick_jobs=300,
    measures=(
        Measure(key="total", label="ms of a core per job", digits=3),
        Measure(key="worker", label="of these, worker and children", digits=3),
        Measure(key="broker", label="of these, Valkey", digits=3),
        Measure(key="database", label="of these, PostgreSQL", digits=3, compared=False),
        Measure(key="statements", label="statements per job", digits=3, compared=False),
        Measure(key="framing", label="BEGIN and COMMIT per job", digits=3, compared=False),
        Measure(key="other", label="statements/s by the clock", digits=1, compared=False),
    ),
    measure=cost,
)
