"""What a task's author declares of batches, and what cannot be had together with it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery.app.task import Task as CeleryTask

from celeriac.errors import BadArgument

#: Of batch tasks: gathers their jobs in the worker's main process.
STRATEGY = "celeriac.worker.pool.batch_strategy:strategy"

_LARGEST, _LONGEST = 1_000, 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of a task are run many at a time: its function is called with a list of them.

    A worker gathers jobs that it has drawn, and calls the function with a list of ``BatchedJob`` in one child
    of its pool. Each job has an outcome of its own: what the function says of it, or else None as its result
    when the function returns, and the function's exception when it raises.

    Attributes:
        size: how many jobs are run together, at most.
        wait: seconds, or a timedelta, for which the first job of a batch waits for others; at most a minute.

    Raises:
        BadArgument: it can mean nothing; or, where the task is defined, something is said beside it that a
            batch cannot obey.

    >>> @shared_task(name="shop.count_views", batch=Batch(size=100, wait=2))
    ... def count_views(jobs):
    ...     for job in jobs:
    ...         job.complete(job.args[0] * 2)
    >>> id = count_views.delay(21).id
    >>> ended = kit.drain()
    >>> job(id).result
    42
    """

    size: int
    wait: float | timedelta = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or not 1 <= self.size <= _LARGEST:
            raise BadArgument("batch", f"size: wanted a number from 1 to {_LARGEST:,}, found {self.size!r}")
        seconds = self._seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
            raise BadArgument("batch", f"wait: wanted a time above 0 and up to a minute, found {self.wait!r}")

    @property
    def _seconds(self) -> float:
        return self.wait.total_seconds() if isinstance(self.wait, timedelta) else self.wait


def batch_of(task: Any) -> Batch | None:
    """What the task says of batches; None: its jobs run one by one.

    An attribute ``batch`` with anything else in it is the author's own.
    """
    return task.batch if isinstance(task.batch, Batch) else None


def settle(kind: Any) -> None:
    """Let jobs of the task class ``kind`` be gathered, if it says so.

    Raises:
        BadArgument: it says something beside it that a batch cannot obey.
    """
    if batch_of(kind) is None or kind.Strategy == STRATEGY:
        return
    for why in _refusals(kind):
        raise BadArgument("batch", f"{kind.name or kind.__name__}: {why}")
    kind.Strategy, kind.gathers = STRATEGY, True
    kind.typing = False  # calls have the arguments of one job, the function has a list of jobs


def _refusals(kind: Any) -> Iterator[str]:
    run = inspect.getattr_static(kind, "run", None)
    if inspect.iscoroutinefunction(kind.run):
        yield "a batch is run by a child of the pool, and an async def by its event loop"
    if kind.__dict__.get("_decorated") and not isinstance(run, staticmethod):
        yield "bind=True: self is of one job, and a batch has many; each BatchedJob has what is its own"
    if hasattr(kind.__call__, "celeriac_records"):
        yield "a __call__ of its own is of one job"
    if getattr(kind, "autoretry_for", None):
        yield "autoretry_for: each job that fails is tried again by itself"
    if kind.rate_limit is not None:
        yield "rate_limit holds jobs back one by one; say limit=Limit(…, rate=…)"
    if kind.Strategy != CeleryTask.Strategy:
        yield "a Strategy of its own gathers jobs in another way"
    if kind.ordered_by is not None:
        yield "ordered_by: jobs of one key run one after the other, so that a batch never has two of them"
