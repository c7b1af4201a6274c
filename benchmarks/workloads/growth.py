"""What a ledger costs that is not empty: jobs that wait, jobs that have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import median

from benchmarks import filling
from benchmarks.catalogue import CELERIAC
from benchmarks.drained import drained
from benchmarks.figures import Figures, Measure, quantile
from benchmarks.stage import Scale
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from tests.processes import Process

_WAITING: Mapping[Scale, tuple[int, ...]] = {
    Scale.QUICK: (0, 1_000),
    Scale.USUAL: (0, 1_000, 10_000, 100_000, 1_000_000),
}
_FINISHED: Mapping[Scale, tuple[int, ...]] = {
    Scale.QUICK: (0, 1_000),
    Scale.USUAL: (0, 1_000_000),
    Scale.LARGE: (0, 1_000_000, 10_000_000),
}

_DRAINS = 3  # of which the median counts: each takes some seconds, between fills that take minutes
_RATE = 20  # timed jobs a second
_WARM = 20  # timed jobs that are not counted: a producer that has just started
_TIMED = 40  # one for so many jobs of a drain


def growth(trial: Trial, jobs: int) -> Figures:
    """Each part on a new ledger, and first while that is empty: ratios are to that."""
    figures: Figures = {}
    for part in (_beside_waiting, _beside_finished):
        with Trial(trial.entry, trial.stage) as fresh:
            figures |= part(fresh, jobs)
    return figures


def _beside_waiting(trial: Trial, jobs: int) -> Figures:
    return _filled(trial, jobs, "waiting", trial.stage.scale.of(_WAITING), filling.waiting)


def _beside_finished(trial: Trial, jobs: int) -> Figures:
    return _filled(trial, jobs, "finished", trial.stage.scale.of(_FINISHED), filling.finished)


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
    """Rate and latency of workers that draw from the queue of this level only."""
    rates = []
    for _ in range(_DRAINS):
        known = trial.witness.done()
        recorded = filling.done(trial, known + jobs)
        trial.enqueue(jobs)
        with trial.worker(words=("-Q", "normal")) as worker:
            rates.append(drained(trial, jobs, worker=worker, before=known, recorded=recorded).rate)
    with trial.worker(words=("-Q", "normal")) as worker:
        waits = _waits(trial, max(20, jobs // _TIMED), worker)
    return {"rate": median(rates), "p50": quantile(waits, 0.5), "p99": quantile(waits, 0.99)}


def _waits(trial: Trial, jobs: int, worker: Process) -> list[float]:
    """Milliseconds from the call to the start of each job."""
    before = len(trial.witness.waits())
    trial.ask("pace", jobs + _WARM, _RATE)
    for _ in trial.watch(lambda: len(trial.witness.waits()), before + jobs + _WARM, worker=worker):
        pass
    return [seconds * 1e3 for seconds in trial.witness.waits()[before + _WARM :]]


def _measures() -> Iterator[Measure]:
    for name, sizes in (("waiting", _WAITING), ("finished", _FINISHED)):
        for size in sorted({size for some in sizes.values() for size in some}):
            yield from _measures_of(f"{name}_{size}", f"{size:,} {name}")


def _measures_of(name: str, beside: str) -> Iterator[Measure]:
    yield Measure(key=f"rate_{name}", label=f"jobs/s, {beside}", compared=False)
    yield Measure(key=f"kept_{name}", label=f"rate ÷ of an empty ledger, {beside}", digits=2, compared=False)
    yield Measure(key=f"p50_{name}", label=f"ms to the start, p50, {beside}", digits=2, compared=False)
    yield Measure(key=f"p99_{name}", label=f"ms to the start, p99, {beside}", digits=2, compared=False)


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
