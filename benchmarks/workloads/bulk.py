"""How fast many jobs are enqueued at a time, next to a loop of single calls."""

from __future__ import annotations

from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload


def bulk(trial: Trial, jobs: int) -> Figures:
    """One process that does nothing else, no worker. Rows alone: of jobs that are due much later."""
    now, later = (trial.ask("bulk", jobs, delay) for delay in (0, 3600))
    return {"rate": jobs / now, "rows": jobs / later}


BULK = Workload(
    name="bulk",
    title="many jobs at a time, one process, no worker (plain Celery: .delay() in a loop)",
    jobs=20_000,
    quick_jobs=2_000,
    measures=(
        Measure(key="rate", label="jobs/s, rows and messages"),
        Measure(key="rows", label="jobs/s, due in an hour", compared=False),
    ),
    measure=bulk,
)
