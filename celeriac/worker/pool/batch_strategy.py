"""Gather the jobs of a batch task in the worker's main process, and give them to the pool as one call.

Each job stays a request of its own, claimed, cancelled and recorded by itself. Celery's strategy makes it; it
is asked what it wants of the pool when the batch is full, or its wait is over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import ref

from billiard.einfo import ExceptionInfo
from celery.exceptions import TaskRevokedError, Terminated, WorkerLostError
from celery.worker import state
from celery.worker.strategy import default

from celeriac.headers import FOLLOWS
from celeriac.task import failures
from celeriac.task.batch.attempt import run_batch
from celeriac.task.batch.declared import Batch, batch_of


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Any:
    """``Task.Strategy`` of batch tasks: Celery's, with a consumer that gathers."""
    gathering = consumer.batches.of(task)
    return default(task, app, _GatheringConsumer(consumer, gathering), **options)


class Batches:
    """The batches that form in one worker, by task."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._known: dict[str, Gathering] = {}

    def of(self, task: Any) -> Gathering:
        """The same for each connection: what waits when one is lost is kept."""
        if task.name not in self._known:
            batch = batch_of(task)
            assert batch is not None
            self._known[task.name] = Gathering(self._consumer, batch)
        return self._known[task.name]

    def room(self) -> int:
        """How many more jobs the batches have room for that have begun to form."""
        return sum(each.room() for each in list(self._known.values()))


class _GatheringConsumer:
    """A consumer as Celery's strategy sees it, whose requests go into batches."""

    def __init__(self, consumer: Any, gathering: Gathering) -> None:
        self._consumer = consumer
        self.pool = NotingPool(consumer, gathering)
        self.on_task_request = gathering.take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


@dataclass(frozen=True, slots=True)
class Call:
    """What one request asks of the pool."""

    request: Any
    trace: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]


class NotingPool:
    """Notes what requests ask of the pool while a batch is made; otherwise a job runs alone."""

    def __init__(self, consumer: Any, gathering: Gathering) -> None:
        self._consumer = consumer
        self._gathering = gathering

    def apply_async(self, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        noted = self._gathering.noted
        if noted is None:
            return self._consumer.pool.apply_async(target, args, kwargs, **options)
        noted.append((target, args, options))
        return None


class Gathering:
    """The jobs of one task that wait for others, in one worker. Any thread may call it."""

    def __init__(self, consumer: Any, batch: Batch) -> None:
        self._consumer = consumer
        self._batch = batch
        self._lock = threading.RLock()
        self._forming: list[Any] = []
        self._timer: Any = None
        self.noted: list[Any] | None = None

    def room(self) -> int:
        """How many more jobs the batch has room for; 0: none has begun to form."""
        forming = len(self._forming)
        return self._batch.size - forming if forming else 0

    def take(self, request: Any) -> None:
        """Let ``request`` wait for others of its task."""
        if request.request_dict.get(FOLLOWS):  # it only takes the result of another job
            self._consumer.on_task_request(request)
            return
        # A job that waits here waits for no child: others may be claimed, this batch's own among them.
        self._consumer.ledger.set_rate_limited(request.job, True)
        with self._lock:
            self._forming.append(request)
            if len(self._forming) == 1:
                self._timer = self._consumer.timer.call_after(self._batch._seconds, self.flush)
            full = len(self._forming) >= self._batch.size
        if full:
            self.flush()

    def flush(self) -> None:
        """Give the pool what has been gathered, as soon as it has room."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            requests, self._forming, self._timer = self._forming, [], None
        if requests and not self._consumer.stopping:  # otherwise the ledger thread releases them
            # Of the batch one job counts among those that wait for a child, or no worker would stop claiming.
            self._consumer.ledger.set_rate_limited(requests[0].job, False)
            self._consumer.on_task_request(BatchRequest(self._consumer, self, requests))

    def calls(self, requests: Iterable[Any], refused: Callable[[Any, Exception], None]) -> list[Call]:
        """What each of ``requests`` asks of the pool; one that was revoked or cannot be sent asks nothing."""
        with self._lock:
            return [call for each in requests if (call := self._call(each, refused)) is not None]

    def _call(self, request: Any, refused: Callable[[Any, Exception], None]) -> Call | None:
        self.noted = []
        try:
            request.execute_using_pool(self._consumer.pool)
            ((trace, args, options),) = self.noted
        except TaskRevokedError:  # it has its outcome
            return None
        except Exception as exc:  # a bad message must not cost the others their run
            state.task_ready(request)
            refused(request, exc)
            return None
        finally:
            self.noted = None
        return Call(request, trace, args, options)


class BatchRequest:
    """What the pool is given in place of one request."""

    def __init__(self, consumer: Any, gathering: Gathering, requests: list[Any]) -> None:
        self._consumer = consumer
        self._gathering = gathering
        self._requests = requests
        self._calls: list[Call] = []
        self.id = requests[0].id
        self.task = requests[0].task

    def execute_using_pool(self, pool: Any) -> Any:
        """Run them in one call.

        Raises:
            TaskRevokedError: none of them is to run any more.
        """
        refuse = self._consumer.refuse_request
        self._calls = self._gathering.calls(self._requests, refuse)
        if not self._calls:
            raise TaskRevokedError(self.id)
        try:
            result = self._apply(pool)
        except Exception as exc:  # their call cannot be sent
            for call in self._calls:
                state.task_ready(call.request)
                refuse(call.request, exc)
            raise TaskRevokedError(self.id) from exc
        for call in self._calls:
            call.request._apply_result = None if result is None else ref(result)
        return result

    def _apply(self, pool: Any) -> Any:
        calls = self._calls
        return pool.apply_async(
            run_batch,
            args=([(call.trace, call.args) for call in calls],),
            accept_callback=self._each("accept_callback"),
            timeout_callback=self._each("timeout_callback"),
            callback=self._ended,
            error_callback=self._failed,
            soft_timeout=_shortest(call.options["soft_timeout"] for call in calls),
            timeout=_shortest(call.options["timeout"] for call in calls),
            correlation_id=calls[0].request.id,
        )

    def _each(self, name: str) -> Callable[..., None]:
        """What tells each job of something that has happened to all of them."""

        def tell(*args: Any) -> None:
            _all(partial(call.options[name], *args) for call in self._calls)

        return tell

    def _failed(self, error: Any) -> None:
        """The run has ended without answers. One job's cancel is not that of the others: they are lost."""
        terminated = isinstance(failures.unwrapped(error.exception), Terminated)
        for_others = _lost() if terminated else error
        errors = [error if call.request.acknowledged else for_others for call in self._calls]
        _all(
            partial(call.options["error_callback"], one)
            for call, one in zip(self._calls, errors, strict=True)
        )

    def _ended(self, answers: list[Any], **_: Any) -> None:
        names = ["error_callback" if isinstance(one, ExceptionInfo) else "callback" for one in answers]
        calls = zip(self._calls, names, answers, strict=True)
        _all(partial(call.options[name], answer) for call, name, answer in calls)


def _lost() -> ExceptionInfo:
    try:
        raise WorkerLostError("its run was terminated, because another job of its batch was cancelled")
    except WorkerLostError:
        return ExceptionInfo()


def _all(calls: Iterable[Callable[[], Any]]) -> None:
    """Call each, whatever the others raise; raise the last exception."""
    error: BaseException | None = None
    for call in calls:
        try:
            call()
        except BaseException as exc:  # one job's must not keep the others from their outcome
            error = exc
    if error is not None:
        raise error


def _shortest(limits: Iterable[float | None]) -> float | None:
    """The shortest of the jobs' time limits: a batch has one."""
    return min((limit for limit in limits if limit), default=None)
