"""How fast a worker drains jobs of several levels, and how strictly it takes the important ones first."""

from __future__ import annotations

from benchmarks.drain_time import drained
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload

_CHILDREN = 2

#: Queues, most important first, each with its tenths of the jobs.
_SHARES = {"critical": 1, "high": 2, "normal": 3, "low": 4}


def mix(trial: Trial, jobs: int) -> Figures:
    """All levels wait before the worker starts, mixed as they were enqueued."""
    trial.ask("spread", jobs, *_pattern())
    with trial.worker(concurrency=_CHILDREN, words=("-Q", ",".join(_SHARES))) as worker:
        rate = drained(trial, jobs, worker=worker).rate
    return {"rate": rate, **strictness(trial.witness.marks(), children=_CHILDREN)}


def strictness(marks: str, *, children: int) -> Figures:
    """How many jobs started before the last one of a higher level, given the levels in order of start.

    ``beyond`` leaves out one per child and level: what another child still has at hand holds up nobody.

    >>> strictness("cchcnhnnl", children=1)
    {'early': 2, 'beyond': 0}
    >>> strictness("lllc", children=2)
    {'early': 3, 'beyond': 1}
    """
    early: dict[str, int] = {}
    for level in (queue[0] for queue in _SHARES):
        end = max((marks.rfind(higher) for higher in early), default=-1)
        early[level] = marks.count(level, 0, max(end, 0))
    return {
        "early": sum(early.values()),
        "beyond": sum(max(0, count - children) for count in early.values()),
    }


def _pattern() -> list[str]:
    """Ten queues in which none comes twice in a row before it has to."""
    left = dict(_SHARES)
    pattern = []
    while any(left.values()):
        for queue in reversed(_SHARES):
            if left[queue]:
                left[queue] -= 1
                pattern.append(queue)
    return pattern


MIX = Workload(
    name="mix",
    title="no-op jobs of four levels, 10, 20, 30 and 40 %, already waiting, a prefork worker of two children",
    jobs=8_000,
    quick_jobs=300,
    measures=(
        Measure(key="rate", label="jobs/s"),
        Measure(key="early", label="jobs that ran before the last of a higher level", compared=False),
        Measure(key="beyond", label="the same, beyond one per child and level", compared=False),
    ),
    measure=mix,
    applies=lambda entry: entry.feeds_children,
)
