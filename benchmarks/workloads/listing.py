"""How long an operator's questions take on a large ledger, and whether one of them reads all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Any

from sqlalchemy import event

from benchmarks import filled_ledger, operator_app
from benchmarks.figures import Figures, Measure
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from celeriac.application import Celeriac
from celeriac.operate import dead_letters, overview
from celeriac.operate.listing import Filter, JobState, Sort, page, prefix

_CALLS = 5  # of each; the first is not counted, which plans and reads what the others find in memory

#: Seven days of jobs of twelve tasks: one in a hundred is a dead letter, few wait, eight run, some are rare.
_FILL = """
    INSERT INTO background_jobs (id, job_type, queue, priority,
        payload, content_type, content_encoding, headers,
        user_id, queued, max_tries, schedule, state, next_attempt_after,
        dispatched, dispatch_count, try_count, worker_id, last_worker_id, started, finished, failure_info)
    SELECT uuidv7(at - now()),
        CASE WHEN n %% 20000 = 7 THEN 'task.rare' ELSE 'task.' || n %% 12 END,
        CASE WHEN n %% 25000 = 9 THEN 'critical' WHEN n %% 3 = 0 THEN 'low' ELSE 'normal' END, 10,
        convert_to(repeat('x', 400), 'UTF8'), 'application/json', 'utf-8', '{}',
        CASE WHEN n %% 10 = 0 THEN 'user-' || n %% 500 END, at, 5,
        CASE WHEN n %% 1000 = 0 THEN 'nightly' END, state, at,
        at, 1, CASE WHEN state = 'pending' THEN 0 ELSE 1 END,
        CASE WHEN state = 'running' THEN holder END, CASE WHEN state <> 'pending' THEN holder END,
        CASE WHEN state <> 'pending' THEN at + interval '1 s' END,
        CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN at + interval '2 s' END,
        CASE WHEN state IN ('failed', 'error') THEN 'OSError: host ' || n || ' is away' END
    FROM (
        SELECT n, now() - n * interval '7 days' / %(count)s AS at,
            md5('worker ' || CASE WHEN n %% 20000 = 11 THEN 99
                ELSE n * 5 / (%(count)s + 1) * 8 + n %% 8 END)::uuid AS holder,
            CASE
            WHEN n <= 8 THEN 'running' WHEN n %% 100 = 0 THEN 'failed' WHEN n %% 150 = 1 THEN 'pending'
            WHEN n %% 400 = 2 THEN 'error' WHEN n %% 700 = 3 THEN 'cancelled' ELSE 'completed' END AS state
        FROM generate_series(%(last)s::bigint, %(first)s::bigint, -1) AS n
    ) AS made
"""
#: Eight machines with five deploys, newest first; and one worker of a version of its own, hardly ever busy.
_WORK = """
    INSERT INTO background_workers (id, hostname, pid, pool, concurrency, queues, tasks, version,
        code_version, started, heartbeat, stopped)
    SELECT md5('worker ' || n)::uuid, CASE WHEN n = 99 THEN 'rare@host' ELSE 'celery@host-' || n % 8 END, 7,
        'prefork', 2, '[]', '', '1.0', CASE WHEN n = 99 THEN 'rare' ELSE 'v' || n / 8 END,
        now() - interval '7 days', now(), now()
    FROM unnest(array[99] || array(SELECT generate_series(0, 39))) n
"""
_FAIL = """
    INSERT INTO background_attempts (job_id, attempt, finished, kind, exception_type, exception, frame)
    SELECT id, 1, queued, 'error', 'OSError', failure_info, 'net.py:f' || priority
    FROM background_jobs WHERE failure_info IS NOT NULL
"""

_FILTERS: Mapping[str, Filter] = {
    "all": Filter(),
    "state": Filter(state=JobState.FAILED),
    "state-rare": Filter(state=JobState.RUNNING),
    "task": Filter(task="task.3"),
    "task-rare": Filter(task="task.rare"),
    "queue": Filter(queue="low"),
    "queue-rare": Filter(queue="critical"),
    "user": Filter(user_id="user-10"),
    "schedule": Filter(schedule="nightly"),
    "worker": Filter(worker="celery@host-3"),
    "worker-rare": Filter(worker="rare@host"),
    "version": Filter(version="v2"),
    "version-rare": Filter(version="rare"),
    "error": Filter(error="is away"),
    "error-none": Filter(error="nothing says so"),
    "since": Filter(since=timedelta(hours=1)),
    "span": Filter(since=timedelta(days=5), until=timedelta(days=4)),
    "id": Filter(ids=prefix("019")),
    "task-and-state": Filter(task="task.3", state=JobState.ERROR),
}

_QUESTIONS: Mapping[str, Callable[..., object]] = {
    **{f"jobs-list-{name}": partial(page, wanted) for name, wanted in _FILTERS.items()},
    "jobs-list-oldest": partial(page, Filter(), sort=Sort.OLDEST),
    "jobs-list-due": partial(page, Filter(), sort=Sort.DUE),
    "jobs-list-longest": partial(page, Filter(), sort=Sort.LONGEST),
    "dead-letters-list": dead_letters.groups,
    "queues": overview.queues,
    "stats": partial(overview.stats, Filter(since=timedelta(hours=1))),
}


def listing(trial: Trial, jobs: int) -> Figures:
    """The functions behind the commands; what the terminal shows is not made."""
    fill(trial, jobs)
    figures: Figures = {}
    with operator_app.app(trial) as app:
        for name, ask in _QUESTIONS.items():
            figures[name] = _milliseconds(partial(ask, app=app))
            figures[f"scans-{name}"] = _scans(app, partial(ask, app=app))
    slowest = max(figures[name] for name in _QUESTIONS)
    scans = sum(figures[f"scans-{name}"] for name in _QUESTIONS)
    return {**figures, "slowest": slowest, "scans": scans}


def fill(trial: Trial, jobs: int) -> None:
    """``jobs`` rows more, of seven days and twelve tasks, as a platform in use has them."""
    with filled_ledger.without_indexes(trial.database):
        filled_ledger.in_halves(trial, _FILL, {"count": jobs}, count=jobs)
    trial.database.execute(_WORK.encode())
    trial.database.execute(_FAIL.encode())
    for statement in ("VACUUM ANALYZE background_jobs", "VACUUM ANALYZE background_attempts", "CHECKPOINT"):
        trial.database.execute(statement.encode())


def _milliseconds(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(1 + _CALLS):
        begin = time.perf_counter()
        ask()
        times.append((time.perf_counter() - begin) * 1e3)
    return median(times[1:])


def _scans(app: Celeriac, ask: Callable[[], object]) -> int:
    """How many of the statements of ``ask`` read every row of the table."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(app.database.engine, "before_cursor_execute", note)
    ask()
    event.remove(app.database.engine, "before_cursor_execute", note)
    with app.database.reading() as connection:
        plans = [connection.exec_driver_sql(f"EXPLAIN {text}", values).scalars() for text, values in asked]
        return sum("Seq Scan on background_jobs" in "\n".join(plan) for plan in plans)


LISTING = Workload(
    name="listing",
    title="questions of operators to a ledger of so many jobs, the functions behind the commands",
    jobs=1_000_000,
    quick_jobs=2_000,
    large_jobs=5_000_000,
    repeat=1,
    quick=False,
    usual=False,
    measures=(
        Measure(key="slowest", label="ms, the slowest", digits=1, compared=False),
        Measure(key="scans", label="statements that read every row", compared=False),
        *(Measure(key=name, label=f"ms, {name}", digits=1, compared=False) for name in _QUESTIONS),
    ),
    measure=listing,
    applies=lambda entry: entry == CELERIAC,  # whose table is filled
)
