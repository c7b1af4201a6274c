"""The disk space of a job: its row, index entries and dead versions; before a prune and after."""

from __future__ import annotations

import time
from datetime import timedelta

from benchmarks import operator_app
from benchmarks.figures import Figures, Measure
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from celeriac import retention
from celeriac.retention import Retention

_SIZES = """
    SELECT pg_table_size('background_jobs'), pg_indexes_size('background_jobs'),
        (SELECT count(*) FROM background_jobs), n_dead_tup, n_tup_upd, n_tup_hot_upd
    FROM pg_stat_user_tables WHERE relname = 'background_jobs'
"""


def bloat(trial: Trial, jobs: int) -> Figures:
    """Half of the jobs, then the other half, then a prune of the first; autovacuum does what it does."""
    half = jobs // 2
    before = _written(trial)
    _run(trial, half, done=half)
    ended = time.monotonic()
    _run(trial, half, done=2 * half)
    figures = _measured(trial, "before") | {"wal": (_written(trial) - before) / (2 * half)}
    with operator_app.app(trial) as app:
        kept = Retention(done=timedelta(seconds=time.monotonic() - ended), dead=timedelta(days=30))
        retention.prune(app=app, retention=kept)
    after = _measured(trial, "after")
    return figures | {key: value for key, value in after.items() if not key.startswith("hot")}


def _run(trial: Trial, jobs: int, *, done: int) -> None:
    trial.ask("many", jobs)
    with trial.worker() as worker:
        trial.finished(done, worker=worker)


def _written(trial: Trial) -> int:
    """Bytes of the write-ahead log since there is one."""
    row = trial.database.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _measured(trial: Trial, when: str) -> Figures:
    trial.database.execute("SELECT pg_stat_force_next_flush()")
    time.sleep(1.5)  # other connections tell of their changes once a second
    row = trial.database.execute(_SIZES).fetchone()
    assert row is not None
    table, indexes, rows, dead, updates, hot = row
    return {
        f"table_{when}": table / max(1, rows),
        f"indexes_{when}": indexes / max(1, rows),
        f"rows_{when}": rows,
        f"dead_{when}": 100 * dead / max(1, rows),
        f"hot_{when}": 100 * hot / max(1, updates),
    }


BLOAT = Workload(
    name="bloat",
    title="size of the ledger after so many jobs, then after a prune of half of them",
    jobs=100_000,
    quick_jobs=600,
    repeat=1,  # a count, not a time
    quick=False,
    usual=False,
    measures=(
        Measure(key="wal", label="bytes of write-ahead log per job", compared=False),
        Measure(key="table_before", label="bytes of the table per row", compared=False),
        Measure(key="indexes_before", label="bytes of indexes per row", compared=False),
        Measure(key="dead_before", label="dead row versions, % of the rows", digits=1, compared=False),
        Measure(key="hot_before", label="% of the updates that were HOT", digits=1, compared=False),
        Measure(key="rows_after", label="rows left by the prune", compared=False),
        Measure(key="table_after", label="bytes of the table per row, pruned", compared=False),
        Measure(key="indexes_after", label="bytes of indexes per row, pruned", compared=False),
        Measure(key="dead_after", label="dead row versions, % of the rows, pruned", digits=1, compared=False),
    ),
    measure=bloat,
    applies=lambda entry: entry == CELERIAC,
)
