"""How long a producer waits for ``.delay()`` to return."""

from __future__ import annotations

from benchmarks.figures import Figures, Measure, quantile
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_WARM = 100  # calls that are not counted: the first connects, the next ones prepare statements
_THREADS = 8
_AT_ONCE = 100  # awaited calls


def delay(trial: Trial, jobs: int) -> Figures:
    """One process that does nothing else, no worker."""
    times = trial.ask("delay", jobs, _WARM)
    more = {"threads": jobs / trial.ask("delay-in-threads", jobs, _THREADS)}
    if trial.entry == CELERIAC:
        more["awaited"] = jobs / trial.ask("awaited-calls", jobs, _AT_ONCE)
    return more | {
        "rate": len(times) / sum(times) * 1e6,
        "mean": sum(times) / len(times),
        "p50": quantile(times, 0.5),
        "p99": quantile(times, 0.99),
    }


DELAY = Workload(
    name="delay",
    title=".delay() one by one, one process, no worker",
    jobs=2_000,
    quick_jobs=300,
    measures=(
        Measure(key="rate", label="calls/s"),
        Measure(key="mean", label="µs per call", compared=False),
        Measure(key="p50", label="µs per call, p50"),
        Measure(key="p99", label="µs per call, p99", compared=False),
        Measure(key="threads", label=f"calls/s, {_THREADS} threads"),
        Measure(key="awaited", label=f"calls/s, {_AT_ONCE} awaited at once", compared=False),
    ),
    measure=delay,
)
