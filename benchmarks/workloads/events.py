"""The cost of sending events, as ``-E`` asks a worker to."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.drain_time import Drained, drained
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_ON, _OFF = ("-E",), ()


def events(trial: Trial, jobs: int) -> Figures:
    """Four drains of half as many jobs: off, on, on, off, so that what drifts weighs on both alike."""
    found = [(words, _drain(trial, jobs // 2, words)) for words in (_OFF, _ON, _ON, _OFF)]
    off, on = (_rate([done for words, done in found if words == wanted]) for wanted in (_OFF, _ON))
    return {"off": off, "on": on, "kept": on / off}


def _drain(trial: Trial, jobs: int, words: Sequence[str]) -> Drained:
    before = trial.witness.done()
    trial.enqueue(jobs)
    with trial.worker(words=words) as worker:
        return drained(trial, jobs, worker=worker, before=before)


def _rate(drains: Sequence[Drained]) -> float:
    return sum(done.jobs for done in drains) / sum(done.end - done.begin for done in drains)


EVENTS = Workload(
    name="events",
    title="no-op jobs, already waiting, a prefork worker with two children that sends events, or none",
    jobs=8_000,
    quick_jobs=300,
    measures=(
        Measure(key="off", label="jobs/s without events"),
        Measure(key="on", label="jobs/s with -E"),
        Measure(key="kept", label="with ÷ without", digits=2, compared=False),
    ),
    measure=events,
    applies=lambda entry: entry.feeds_children,
)
