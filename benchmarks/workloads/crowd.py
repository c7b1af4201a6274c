"""Whether many workers on one ledger slow each other down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks import filled_ledger, lock_waits
from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.trial_servers import Scale
from benchmarks.workload import Workload

_WORKERS: Mapping[Scale, tuple[int, ...]] = {Scale.QUICK: (1, 2), Scale.USUAL: (1, 4, 16)}
_START = 20.0  # seconds that the start of each may take, at most
_WARM = 0.2  # share of the jobs that is not timed: all workers have begun then

_UP = "SELECT count(*) FROM background_workers WHERE stopped IS NULL"


def crowd(trial: Trial, jobs: int) -> Figures:
    """Solo workers, all of them up before the jobs come; one, then more."""
    figures: Figures = {}
    for number in trial.stage.scale.of(_WORKERS):
        rate, waits = _together(trial, jobs, number)
        figures |= {f"rate_{number}": rate, f"locks_{number}": waits}
        figures[f"kept_{number}"] = rate / figures["rate_1"]
    return figures | {"deadlocks": lock_waits.deadlocks(trial.stage)}


def _together(trial: Trial, jobs: int, number: int) -> tuple[float, float]:
    """Jobs a second, and in how many of a hundred looks somebody waited for a lock."""
    known = trial.witness.done()
    recorded = filled_ledger.done(trial, known + jobs)
    with trial.worker(pool="solo", concurrency=1, number=number) as workers:
        for _ in trial.watch(lambda: _up(trial), number, worker=workers, patience=_START * number):
            pass
        with trial.meanwhile("many", jobs), lock_waits.looks(trial.stage) as looks:
            done = drained(trial, jobs, worker=workers, before=known, warm=_WARM, recorded=recorded)
    return done.rate, 100 * sum(map(bool, looks)) / max(1, len(looks))


def _up(trial: Trial) -> int:
    row = trial.database.execute(_UP).fetchone()
    return int(row[0]) if row else 0


def _measures() -> Iterator[Measure]:
    for number in sorted({number for some in _WORKERS.values() for number in some}):
        yield Measure(key=f"rate_{number}", label=f"jobs/s, workers: {number}", compared=False)
        yield Measure(
            key=f"kept_{number}", label=f"rate ÷ of one, workers: {number}", digits=2, compared=False
        )
        label = f"% of looks that saw a wait for a lock, workers: {number}"
        yield Measure(key=f"locks_{number}", label=label, digits=1, compared=False)
    yield Measure(key="deadlocks", label="deadlocks of all of them", compared=False)


CROWD = Workload(
    name="crowd",
    title="no-op jobs, enqueued at once, solo workers that share one ledger",
    jobs=8_000,
    quick_jobs=300,
    repeat=3,
    quick=False,
    usual=False,
    measures=tuple(_measures()),
    measure=crowd,
    applies=lambda entry: entry == CELERIAC,
)
