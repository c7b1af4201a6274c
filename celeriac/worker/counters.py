"""A worker's own metrics for Prometheus. They are updated once a turn, or at most twice a job.

Counters start at zero with the worker. Metrics of the ledger are in ``ledger_metrics.py``.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.claims import Claimed
from celeriac.worker.attempt_report import AttemptReport

#: Buckets in seconds, for waits and runs of jobs.
_OF_JOBS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

#: Buckets in seconds, for what should be quick.
_OF_TURNS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

_OF_BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

#: Most tasks with a label of their own; further ones share ``other``.
_TASKS = 200


class Meter:
    """The metrics of one worker, in a registry of their own. Several threads update them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tasks: set[str] = set()
        self._ended = self._counter("attempts", "attempts by what they came to", "task", "outcome")
        self._ran = self._histogram("run_seconds", "how long attempts ran", _OF_JOBS, "task")
        self._waited = self._histogram(
            "wait_seconds", "from the sending of a message to the claim of its job", _OF_JOBS, "queue"
        )
        self._turns = self._histogram("turn_seconds", "transactions of outcomes and claims", _OF_TURNS)
        self._batches = self._histogram("turn_jobs", "outcomes and deliveries of a transaction", _OF_BATCHES)
        self._lag = self._histogram(
            "dispatch_lag_seconds", "how long the earliest of a batch had been due", _OF_TURNS
        )
        self.sent = self._counter("dispatched", "messages sent of jobs that became due")
        self.stranded = self._counter("stranded", "messages that the broker lost, to be sent again")
        self.rescued = self._counter("rescued", "attempts taken back from dead workers")
        self.aged = self._counter("aged", "jobs that it moved up a level because they had waited for long")
        self.lean = self._counter(
            "lean_attempts", "attempts for which Celery's message and request were not made"
        )
        self.refused = self._counter("refused_outcomes", "outcomes that came too late")
        self.dropped = self._counter("dropped_deliveries", "copies, and deliveries of jobs that were not due")

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(f"celeriac_worker_{name}", what, registry=self.registry).set_function(value)

    def observe_turn(self, seconds: float, *, jobs: int) -> None:
        self._turns.observe(seconds)
        self._batches.observe(jobs)

    def claimed(self, jobs: Iterable[Claimed]) -> None:
        queues: dict[str, Histogram] = {}  # to find one by its label takes longer than to observe
        for job in jobs:
            if (queue := queues.get(job.queue)) is None:
                queue = queues[job.queue] = self._waited.labels(job.queue)
            queue.observe(max(0.0, job.waited.total_seconds()))

    def completed(self, ended: Sequence[tuple[str, float]]) -> None:
        """Count attempts that were completed, by task, with the seconds that each took."""
        tasks: dict[str, Histogram] = {}
        for task, seconds in ended:
            if (ran := tasks.get(task)) is None:
                ran = tasks[task] = self._ran.labels(self._task_label(task))
            ran.observe(seconds)
        for task, number in Tally(task for task, _ in ended).items():
            self._ended.labels(self._task_label(task), JobState.COMPLETED.value).inc(number)

    def ended(self, reports: Sequence[AttemptReport], accepted: Mapping[UUID, JobState]) -> None:
        """Count attempts by task and by what the ledger made of them."""
        attempts = Tally((item.task, accepted.get(item.outcome.id)) for item in reports)
        for (task, state), number in attempts.items():
            if state is not None:
                self._ended.labels(self._task_label(task), state.value).inc(number)
        self.refused.inc(sum(number for (_, state), number in attempts.items() if state is None))
        for item in reports:
            if item.run_seconds is not None:
                self._ran.labels(self._task_label(item.task)).observe(item.run_seconds)

    def observe_lag(self, seconds: float) -> None:
        """Note that a batch was sent whose earliest job had been due for ``seconds``."""
        self._lag.observe(seconds)

    def _task_label(self, task: str | None) -> str:
        if task in self._tasks:
            return task
        if task is None or len(self._tasks) >= _TASKS:
            return "other"
        self._tasks.add(task)
        return task

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"celeriac_worker_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"celeriac_worker_{name}", what, labels, registry=self.registry, buckets=buckets)
