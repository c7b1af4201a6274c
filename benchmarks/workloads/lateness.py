"""How late a delayed job starts, and what a table full of waiting ones costs."""

from __future__ import annotations

import time

from benchmarks import process_usage
from benchmarks.figures import Figures, Measure, quantile
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_WAITING = 1_000_000  # delayed jobs, none of which is due for days
_IDLE = 10.0  # seconds in which the worker's processor time is read
_RATE = 50  # jobs a second
_SHORTEST, _LONGEST = 1.0, 5.0  # seconds of delay

_FILL = """
    INSERT INTO background_jobs (id, job_type, state, priority, queue, max_tries, payload, content_type,
        content_encoding, headers, queued, next_attempt_after)
    SELECT gen_random_uuid(), 'benchmarks.noop', 'pending', 10, 'normal', 5, '[[], {}, {}]',
        'application/json', 'utf-8', '{}', clock_timestamp(),
        clock_timestamp() + interval '30 days' + number * interval '1 s'
    FROM generate_series(1, %s) AS number
"""


def lateness(trial: Trial, jobs: int) -> Figures:
    """First with nothing else in the table, then beside a million jobs that wait."""
    figures: Figures = {}
    with trial.stage.connect() as database:
        for name, waiting in (("empty", 0), ("full", _WAITING)):
            if waiting:
                database.execute(_FILL, [waiting])
                database.execute("VACUUM ANALYZE background_jobs")
            figures |= {f"{key}_{name}": value for key, value in _measured(trial, jobs).items()}
    return figures


def _measured(trial: Trial, jobs: int) -> Figures:
    before = len(trial.witness.waits())
    with trial.worker() as worker:
        trial.enqueue(1)
        trial.ran(trial.witness.done() + 1, worker=worker)
        began, spent = time.monotonic(), process_usage.processor_time(worker.pid)
        time.sleep(_IDLE)
        share = (process_usage.processor_time(worker.pid) - spent) / (time.monotonic() - began)
        resident = process_usage.resident(worker.pid)
        trial.ask("delayed", jobs, _RATE, _SHORTEST, _LONGEST)
        for _ in trial.watch(lambda: len(trial.witness.waits()), before + jobs, worker=worker):
            pass
    late = [seconds * 1e3 for seconds in trial.witness.waits()[before:]]
    return {
        "p50": quantile(late, 0.5),
        "p99": quantile(late, 0.99),
        "cpu": share * 100,
        "resident": resident,
    }


def _measures(name: str, beside: str) -> tuple[Measure, ...]:
    return (
        Measure(key=f"p50_{name}", label=f"ms late, p50, {beside}", digits=1, compared=False),
        Measure(key=f"p99_{name}", label=f"ms late, p99, {beside}", digits=1, compared=False),
        Measure(key=f"cpu_{name}", label=f"% of a core when idle, {beside}", digits=2, compared=False),
        Measure(key=f"resident_{name}", label=f"MiB of the worker, {beside}", digits=1, compared=False),
    )


LATENESS = Workload(
    name="lateness",
    title=f"how late delays of {_SHORTEST:g} to {_LONGEST:g} s end, {_RATE} jobs/s, one prefork worker",
    jobs=1_000,
    quick_jobs=100,
    repeat=3,
    quick=False,  # a million rows
    measures=(*_measures("empty", "nothing else waits"), *_measures("full", f"{_WAITING:,} others wait")),
    measure=lateness,
    applies=lambda entry: entry == CELERIAC,  # whose table is filled
)
