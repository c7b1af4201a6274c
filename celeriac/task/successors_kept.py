"""Successors that the ledger did not take when their attempt ended: they go with its outcome.

Celery sends what follows a task (callbacks, the next step of a chain, the body of a chord) after its function
has returned. An error there would make a failure of work that is done. The attempt's tracer, Celery's own, is
run in a block that keeps such jobs, and its answer carries them to the worker's main process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo

from celeriac.enqueue.capture import keep_successors
from celeriac.ledger.writes.new_jobs import NewJob

_TRACER = "celeriac_tracer"
_JOBS = "celeriac_successors"


class Followed(Exception):
    """An attempt that was successful, on its way to the main process with its successors.

    Args:
        shown: its return value, as Celery shows it.
        seconds: that it took.
    """

    def __init__(self, shown: str, seconds: float) -> None:
        super().__init__(shown, seconds)
        self.shown = shown
        self.seconds = seconds


class KeepingTracer:
    """``Task.__trace__``: what Celery sets there is run in a block that keeps successors."""

    def __get__(self, task: Any, owner: type) -> Any:
        return None if task is None else task.__dict__.get(_TRACER)

    def __set__(self, task: Any, tracer: Callable[..., Any] | None) -> None:
        task.__dict__[_TRACER] = None if tracer is None else _keeping(tracer)


def _keeping(tracer: Callable[..., Any]) -> Callable[..., Any]:
    def trace(*given: Any) -> Any:
        with keep_successors() as jobs:
            ended = tracer(*given)
        return _with_successors(ended, tuple(jobs)) if jobs else ended

    return trace


def _with_successors(ended: Any, jobs: tuple[NewJob, ...]) -> Any:
    """Celery's answer, as that of a failure: only those carry more than a text."""
    if not ended.info:
        try:
            raise Followed(ended.retstr, ended.runtime)
        except Followed as exc:
            ended = type(ended)(ExceptionInfo(), exc, ended.runtime, ended.retstr)
    setattr(ended.retval, _JOBS, jobs)
    return ended


def successors_of(answer: Any) -> tuple[NewJob, ...]:
    """The jobs that an attempt's answer carries."""
    found: tuple[NewJob, ...] = getattr(answer, _JOBS, ())
    return found
