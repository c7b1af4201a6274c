"""The jobs of each task in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from celeriac.ledger.reads.job_rows import Line
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStats:
    """The jobs of a task in numbers; of every task where it is None."""

    task: str | None
    jobs: int
    states: dict[str, int]
    retried: int
    failure_rate: float | None  # failed among the ended; None: none has ended
    wait_p50: timedelta | None
    wait_p95: timedelta | None
    wait_p99: timedelta | None
    run_p50: timedelta | None
    run_p95: timedelta | None
    run_p99: timedelta | None


def by_task(lines: Sequence[Line]) -> list[TaskStats]:
    """One for each task, and one for all of them at the end."""
    states: dict[str | None, Counter[JobState]] = {None: Counter()}
    for line in lines:
        if line.state is not None:
            states.setdefault(line.task, Counter())[line.state] += line.jobs
            states[None][line.state] += line.jobs
    return [_of_task(line, states.get(line.task, Counter())) for line in lines if line.state is None]


def _of_task(line: Line, states: Counter[JobState]) -> TaskStats:
    ended = sum(states[state] for state in TERMINAL)
    return TaskStats(
        task=line.task,
        jobs=line.jobs,
        states={str(state): states[state] for state in JobState},
        retried=line.retried,
        failure_rate=states[JobState.FAILED] / ended if ended else None,
        wait_p50=line.wait_p50,
        wait_p95=line.wait_p95,
        wait_p99=line.wait_p99,
        run_p50=line.run_p50,
        run_p95=line.run_p95,
        run_p99=line.run_p99,
    )
