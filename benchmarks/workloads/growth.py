"""The cost of a ledger that is not empty: waiting jobs, ended jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from benchmarks import filled_ledger
from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure, quantile
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.trial_servers import Scale
from benchmarks.workload import Workload
from tests.processes import Process

_WAITING: Mapping[Scale, tuple[int, ...]] = {
    Scale.QUICK: (1_000,),
    Scale.USUAL: (1_000, 10_000, 100_000, 1_000_000),
}
_FINISHED: Mapping[Scale, tuple[int, ...]] = {
    Scale.QUICK: (1_000,),
    Scale.USUAL: (1_000_000,),
    Scale.LARGE: (1_000_000, 10_000_000),
}

_PARTS = (("waiting", _WAITING, filled_ledger.waiting), ("finished", _FINISHED, filled_ledger.finished))

_DRAINS = (
    3  # of each of the two ledgers, in turn: a fill takes minutes, and a machine changes its pace in those
)
_RATE = 20  # timed jobs a second
_WARM = 20  # timed jobs that are not counted: a producer that has just started
_TIMED = 40  # one for so many jobs of a drain


def growth(trial: Trial, jobs: int) -> Figures:
    """Each part on two new ledgers: one is filled, the other is what it is compared with."""
    figures: Figures = {}
    for name, sizes, fill in _PARTS:
        with (
            Trial(trial.entry, trial.stage) as full,
            Trial(trial.entry, trial.stage, second=True) as empty,
        ):
            for one in (full, empty):
                _drained(one, max(100, jobs // 8))  # whose rows are what the fill copies
            there = 0
            for size in trial.stage.scale.of(sizes):
                fill(full, size - there)
                there = size
                figures |= {
                    f"{key}_{name}_{size}": value for key, value in _compared(full, empty, jobs).items()
                }
    return figures


def _compared(full: Trial, empty: Trial, jobs: int) -> Figures:
    """Rate and latency of workers that draw from one queue, on both ledgers in turn."""
    kept = []
    for turn in range(_DRAINS):
        last = turn == _DRAINS - 1
        without, first = _drained(empty, jobs, timed=last)
        beside, second = _drained(full, jobs, timed=last)
        kept.append(beside / without)
    return {
        "kept": median(kept),
        "least": min(kept),
        "p50": quantile(second, 0.5),
        "p99": quantile(second, 0.99),
        "p50_empty": quantile(first, 0.5),
        "p99_empty": quantile(first, 0.99),
    }


def _drained(trial: Trial, jobs: int, *, timed: bool = False) -> tuple[float, list[float]]:
    """Jobs a second; then, if ``timed``, the same worker's milliseconds to the start of each of some more."""
    known = trial.witness.done()
    recorded = filled_ledger.done(trial, known + jobs)
    trial.enqueue(jobs)
    with trial.worker(words=("-Q", "normal")) as worker:
        rate = drained(trial, jobs, worker=worker, before=known, recorded=recorded).rate
        return rate, _waits(trial, max(20, jobs // _TIMED), worker) if timed else []


def _waits(trial: Trial, jobs: int, worker: Process) -> list[float]:
    """Milliseconds from the call to the start of each job."""
    before = len(trial.witness.waits())
    trial.ask("pace", jobs + _WARM, _RATE)
    for _ in trial.watch(lambda: len(trial.witness.waits()), before + jobs + _WARM, worker=worker):
        pass
    return [seconds * 1e3 for seconds in trial.witness.waits()[before + _WARM :]]


def _measures() -> Iterator[Measure]:
    for name, sizes, _ in _PARTS:
        for size in sorted({size for some in sizes.values() for size in some}):
            yield from _measures_of(f"{name}_{size}", f"{size:,} {name}")


def _measures_of(name: str, beside: str) -> Iterator[Measure]:
    yield Measure(key=f"kept_{name}", label=f"rate ÷ of an empty ledger, {beside}", digits=2, compared=False)
    yield Measure(key=f"least_{name}", label=f"the least of three, {beside}", digits=2, compared=False)
    for part in ("p50", "p99"):
        label = f"ms to the start, {part}"
        yield Measure(key=f"{part}_empty_{name}", label=f"{label}, nothing", digits=2, compared=False)
        yield Measure(key=f"{part}_{name}", label=f"{label}, {beside}", digits=2, compared=False)


GROWTH = Workload(
    name="growth",
    title="rate of no-op jobs and time to the start beside jobs that wait or have ended",
    jobs=8_000,
    quick_jobs=300,
    repeat=3,
    quick=False,
    usual=False,
    measures=tuple(_measures()),
    measure=growth,
    applies=lambda entry: entry == CELERIAC,  # whose table is filled
)
