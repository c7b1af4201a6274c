"""What a ledger costs that is not empty: jobs that wait, jobs that have ended, other workers, a prune."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from benchmarks import filling, locks
from benchmarks.catalogue import CELERIAC
from benchmarks.drained import drained
from benchmarks.figures import Figures, Measure, quantile
from benchmarks.stage import Scale
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from tests.processes import Process

_Sizes = TypeVar("_Sizes", int, tuple[int, ...])

_WAITING: Mapping[Scale, tuple[int, ...]] = {
    Scale.QUICK: (0, 1_000),
    Scale.USUAL: (0, 1_000, 10_000, 100_000, 1_000_000),
}
_FINISHED: Mapping[Scale, tuple[int, ...]] = {
    Scale.QUICK: (0, 1_000),
    Scale.USUAL: (0, 1_000_000),
    Scale.LARGE: (0, 1_000_000, 10_000_000),
}
_WORKERS: Mapping[Scale, tuple[int, ...]] = {Scale.QUICK: (1, 2), Scale.USUAL: (1, 4, 16)}
_OLD = {Scale.QUICK: 5_000, Scale.USUAL: 1_000_000}  # rows to prune, more than go while a drain lasts
_AGE = 8  # days, of the youngest of these: they are kept for 7

_RATE = 20  # timed jobs a second
_WARM = 20  # timed jobs that are not counted: a producer that has just started
_TIMED = 40  # one for so many jobs of a drain
_TOGETHER = 0.2  # share of the jobs from which on many workers are timed: all of them have begun

_OPEN = """
    SELECT (SELECT count(*) FROM background_jobs WHERE queue = 'normal' AND state IN ('error', 'pending'))
        + (SELECT count(*) FROM background_jobs WHERE worker_id IS NOT NULL)
"""
_UP = "SELECT count(*) FROM workers WHERE stopped IS NULL"
_LEFT = "SELECT count(*) FROM background_jobs WHERE queued < now() - interval '7 days'"


def growth(trial: Trial, jobs: int) -> Figures:
    """Each part on a new ledger, and first while that is empty: ratios are to that."""
    figures: Figures = {}
    for part in (_beside_waiting, _beside_finished, _together, _while_pruning):
        with Trial(trial.entry, trial.stage) as fresh:
            figures |= part(fresh, jobs)
    return figures


def _beside_waiting(trial: Trial, jobs: int) -> Figures:
    return _filled(trial, jobs, "waiting", _of(_WAITING, trial), filling.waiting)


def _beside_finished(trial: Trial, jobs: int) -> Figures:
    return _filled(trial, jobs, "finished", _of(_FINISHED, trial), filling.finished)


def _filled(
    trial: Trial, jobs: int, name: str, sizes: tuple[int, ...], fill: Callable[[Trial, int], None]
) -> Figures:
    figures: Figures = {}
    there = 0
    for size in sizes:
        fill(trial, size - there)
        there = size
        figures |= {f"{key}_{name}_{size}": value for key, value in _drained(trial, jobs).items()}
        figures[f"kept_{name}_{size}"] = figures[f"rate_{name}_{size}"] / figures[f"rate_{name}_0"]
    return figures


def _drained(trial: Trial, jobs: int) -> Figures:
    """Rate and latency of a worker that draws from the queue of this level only."""
    before = trial.witness.done()
    trial.enqueue(jobs)
    with trial.worker(words=("-Q", "normal")) as worker:
        rate = _rate(trial, jobs, worker, before=before)
        waits = _waits(trial, max(20, jobs // _TIMED), worker)
    return {"rate": rate, "p50": quantile(waits, 0.5), "p99": quantile(waits, 0.99)}


def _rate(trial: Trial, jobs: int, worker: Process, *, before: int, warm: float = 0.05) -> float:
    def recorded() -> int:
        return before + jobs - _number(trial, _OPEN)  # a count of what is done would grow with the ledger

    return drained(trial, jobs, worker=worker, before=before, warm=warm, recorded=recorded).rate


def _waits(trial: Trial, jobs: int, worker: Process) -> list[float]:
    """Milliseconds from the call to the start of each job."""
    before = len(trial.witness.waits())
    trial.ask("pace", jobs + _WARM, _RATE)
    for _ in trial.watch(lambda: len(trial.witness.waits()), before + jobs + _WARM, worker=worker):
        pass
    return [seconds * 1e3 for seconds in trial.witness.waits()[before + _WARM :]]


def _together(trial: Trial, jobs: int) -> Figures:
    """Workers of one job each, all of them up before the jobs come."""
    figures: Figures = {}
    for number in _of(_WORKERS, trial):
        before = trial.witness.done()
        with trial.worker(pool="solo", concurrency=1, number=number) as workers:
            for _ in trial.watch(lambda: _number(trial, _UP), number, worker=workers):
                pass
            with trial.meanwhile("many", jobs), locks.looks(trial.stage) as looks:
                rate = _rate(trial, jobs, workers, before=before, warm=_TOGETHER)
        figures[f"rate_workers_{number}"] = rate
        figures[f"kept_workers_{number}"] = rate / figures["rate_workers_1"]
        figures[f"locks_workers_{number}"] = 100 * sum(map(bool, looks)) / max(1, len(looks))
    return figures | {"deadlocks": locks.deadlocks(trial.stage)}


def _while_pruning(trial: Trial, jobs: int) -> Figures:
    """The same ledger twice: first left alone, then while what is old is deleted."""
    trial.enqueue(1)
    with trial.worker() as worker:
        trial.finished(1, worker=worker)  # the row to copy
    filling.finished(trial, _of(_OLD, trial), age=_AGE)
    alone = _rate_beside(trial, jobs, nullcontext())
    pruning = _rate_beside(trial, jobs, trial.meanwhile("prune"))
    return {
        "rate_alone": alone,
        "rate_pruning": pruning,
        "kept_pruning": pruning / alone,
        "left_to_prune": _number(trial, _LEFT),
    }


def _rate_beside(trial: Trial, jobs: int, other: AbstractContextManager[object]) -> float:
    before = trial.witness.done()
    trial.enqueue(jobs)
    with trial.worker() as worker, other:
        return _rate(trial, jobs, worker, before=before)


def _number(trial: Trial, query: str) -> int:
    row = trial.database.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _of(sizes: Mapping[Scale, _Sizes], trial: Trial) -> _Sizes:
    return sizes.get(trial.stage.scale, sizes[Scale.USUAL])


def _measures() -> Iterator[Measure]:
    for name, sizes in (("waiting", _WAITING), ("finished", _FINISHED)):
        for size in sorted({size for some in sizes.values() for size in some}):
            yield from _measures_of(f"{name}_{size}", f"{size:,} {name}")
    for number in sorted({number for some in _WORKERS.values() for number in some}):
        at = f"{number} solo workers"
        yield Measure(key=f"rate_workers_{number}", label=f"jobs/s, {at}", compared=False)
        yield Measure(key=f"kept_workers_{number}", label=f"rate ÷ of one, {at}", digits=2, compared=False)
        label = f"% of looks that saw a wait for a lock, {at}"
        yield Measure(key=f"locks_workers_{number}", label=label, digits=1, compared=False)
    yield Measure(key="deadlocks", label="deadlocks of all these workers", compared=False)
    yield Measure(key="rate_alone", label="jobs/s, old rows beside, no prune", compared=False)
    yield Measure(key="rate_pruning", label="jobs/s, while pruning", compared=False)
    yield Measure(key="kept_pruning", label="rate while pruning ÷ without", digits=2, compared=False)
    yield Measure(key="left_to_prune", label="old rows left then (0: it ended early)", compared=False)


def _measures_of(name: str, beside: str) -> Iterator[Measure]:
    yield Measure(key=f"rate_{name}", label=f"jobs/s, {beside}", compared=False)
    yield Measure(key=f"kept_{name}", label=f"rate ÷ of an empty ledger, {beside}", digits=2, compared=False)
    yield Measure(key=f"p50_{name}", label=f"ms to the start, p50, {beside}", digits=2, compared=False)
    yield Measure(key=f"p99_{name}", label=f"ms to the start, p99, {beside}", digits=2, compared=False)


GROWTH = Workload(
    name="growth",
    title="rate of no-op jobs and time to the start beside jobs that wait, have ended, or are pruned",
    jobs=8_000,
    quick_jobs=300,
    repeat=3,
    quick=False,
    usual=False,
    measures=tuple(_measures()),
    measure=growth,
    applies=lambda entry: entry == CELERIAC,  # whose table is filled
)
