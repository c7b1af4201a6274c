"""How many jobs one database carries, however many workers there are: connections that run nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from benchmarks import lock_waits
from benchmarks.errors import NotMeasured
from benchmarks.figures import Figures, Measure
from benchmarks.looks import looks_at
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.trial_servers import Scale
from benchmarks.workload import Workload

_CONNECTIONS: Mapping[Scale, tuple[int, ...]] = {
    Scale.QUICK: (1, 4),
    Scale.USUAL: (1, 2, 4, 8, 16, 32, 64),
}
#: What a connection may be at, as ``pg_stat_activity`` says.
_AT = {
    "busy": "state <> 'idle'",
    "lock": "wait_event_type = 'Lock'",
    "wal": "wait_event_type IN ('IO', 'LWLock', 'IPC') AND wait_event LIKE 'W%'",
}
_COUNT = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'celeriac' AND {}
"""
_DONE = "SELECT count(*) FROM background_jobs WHERE state = 'completed'"


def fleet(trial: Trial, jobs: int) -> Figures:
    """One connection, then more; each time as many jobs wait, and all of them are completed."""
    figures: Figures = {}
    for round_, number in enumerate(trial.stage.scale.of(_CONNECTIONS), 1):
        trial.ask("many", jobs)
        with ExitStack() as stack:
            looks = {
                name: stack.enter_context(looks_at(trial.stage, _COUNT.format(where)))
                for name, where in _AT.items()
            }
            seconds = trial.ask("claim-all", number)
        row = trial.database.execute(_DONE).fetchone()
        if row is None or row[0] != round_ * jobs:
            raise NotMeasured(f"{row} of {round_ * jobs} jobs are completed")
        figures[f"rate_{number}"] = jobs / seconds
        figures[f"times_{number}"] = figures[f"rate_{number}"] / figures["rate_1"]
        busy = max(1, sum(looks["busy"]))
        figures |= {f"{name}_{number}": 100 * sum(looks[name]) / busy for name in ("lock", "wal")}
    return figures | {"deadlocks": lock_waits.deadlocks(trial.stage)}


def _measures() -> Iterator[Measure]:
    for number in sorted({number for some in _CONNECTIONS.values() for number in some}):
        of = f"connections: {number}"
        yield Measure(key=f"rate_{number}", label=f"jobs/s, {of}", compared=False)
        yield Measure(key=f"times_{number}", label=f"rate ÷ of one, {of}", digits=2, compared=False)
        yield Measure(key=f"wal_{number}", label=f"% of their time for the log, {of}", compared=False)
        yield Measure(key=f"lock_{number}", label=f"% of it for locks, {of}", digits=1, compared=False)
    yield Measure(key="deadlocks", label="deadlocks of all of them", compared=False)


FLEET = Workload(
    name="fleet",
    title="jobs that are claimed and completed and not run, by connections to one database",
    jobs=100_000,
    quick_jobs=2_000,
    repeat=3,
    quick=False,
    usual=False,
    measures=tuple(_measures()),
    measure=fleet,
    applies=lambda entry: entry == CELERIAC,
)
