"""Run a batch in a child: the first job's attempt calls the function, each job's own has its outcome.

Celery's tracer is run for each job. So its result is stored, its callbacks, chord and signals are called, and
it is retried, as if it had run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from kombu.serialization import loads, prepare_accept_content

from celeriac.application import current_app
from celeriac.headers import FOLLOWS, STAMP
from celeriac.task import failures
from celeriac.task.attempt import following
from celeriac.task.batch.batched_job import BatchedJob
from celeriac.task.batch.declared import batch_of


class BatchRun:
    """One run of the function for some jobs.

    Args:
        jobs: by their task ids, the first first.
    """

    def __init__(self, jobs: Mapping[str, BatchedJob]) -> None:
        self.jobs = jobs
        self._began = False
        self._error: BaseException | None = None

    def outcome(self, id: str, task: Any, run: Callable[..., Any]) -> Any:
        """What became of one job: its return value, or its exception is raised. The first asked runs all."""
        if not self._began:
            self._began = True
            self._call(run)
        said = self.jobs[id]._said
        if said is not None:
            return said(task)
        if self._error is not None:
            raise self._error
        return None

    def _call(self, run: Callable[..., Any]) -> None:
        try:
            run(list(self.jobs.values()))
        except BaseException as exc:  # whatever an author's code raises is the outcome of each job
            if type(exc).__name__ == "GreenletExit" or failures.is_termination(exc):
                raise  # with which the child ends
            self._error = exc


_run: ContextVar[BatchRun | None] = ContextVar("celeriac_batch", default=None)


def run_batch(calls: Sequence[tuple[Callable[..., Any], Sequence[Any]]]) -> list[Any]:
    """Run jobs of one task; return of each what Celery's tracer did, or what it raised as ``ExceptionInfo``.

    Args:
        calls: the tracer of each job and its arguments, as Celery would call it.
    """
    accept = prepare_accept_content(current_app().conf.accept_content)
    jobs = [_job(args, accept) for _, args in calls]
    token = _run.set(BatchRun({job.id: job for job in jobs if job is not None}))
    try:
        return [_traced(trace, args) for trace, args in calls]
    finally:
        _run.reset(token)


def _job(args: Sequence[Any], accept: Any) -> BatchedJob | None:
    """The job of such a call; None: its body cannot be read, as its tracer will say."""
    _, id, request, body, content_type, encoding = args
    try:
        given = loads(body, content_type, encoding, accept=accept) if content_type else body
        return BatchedJob(id, given[0], given[1], request[STAMP]["attempt"])
    except Exception:  # the job must not harm the others
        return None


def _traced(trace: Callable[..., Any], args: Sequence[Any]) -> Any:
    try:
        return trace(*args)
    except Exception:  # the job must not harm the others
        return ExceptionInfo()


def instead(
    task: Any, request: Any, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
    """What the attempt calls, with its arguments: ``run``, what takes a followed job's result, or a batch."""
    run, args, kwargs = following.instead(task, request, run, args, kwargs)
    if batch_of(task) is None or request.get(FOLLOWS):
        return run, args, kwargs
    return partial(_in_batch, task, request, run, args, kwargs), (), {}


def plain(task: Any, request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A call without a ledger, in eager mode: a batch of one job."""
    if batch_of(task) is None or not request.is_eager:
        return task.run(*args, **kwargs)
    return _in_batch(task, request, task.run, args, kwargs)


def _in_batch(
    task: Any, request: Any, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    whole = _run.get()
    if whole is None or request.id not in whole.jobs:  # nobody has gathered it: a batch of one
        stamp = request.get(STAMP) or {"attempt": request.retries + 1}
        whole = BatchRun({request.id: BatchedJob(request.id, args, kwargs, stamp["attempt"])})
    return whole.outcome(request.id, task, run)
