"""Capture the jobs of calls that are made by code which is not ours.

A call of our own is made with ``prepare``, which returns its job. Three kinds of calls cannot be:

- those in a block of ``enqueue_together`` or ``enqueue_in``: they are the user's;
- those that Celery makes from inside, of a canvas and of ``Task.replace``: they hand on no producer of ours;
- those of a task that sends itself again without ``retry``, or goes on after ``retry(throw=False)``.

Nor can those that follow an attempt, which are kept for its outcome where the ledger does not take them.

All of them end at the door, which finds here where their jobs are to go. Nothing else uses a context variable
or an attribute of the request for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import UUID

from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.unique.holders import Holder

if TYPE_CHECKING:
    from celeriac.application import Celeriac


class Written(NamedTuple):
    """What became of jobs that were to be written.

    Attributes:
        new: how many rows are new.
        kept: the jobs that are the answer to calls without rows of their own, by the ids of these calls.
    """

    new: int
    kept: Mapping[UUID, Holder] = MappingProxyType({})


#: Writes the rows of jobs.
Writer: TypeAlias = Callable[[Sequence[NewJob]], Written]

_captured: ContextVar[list[NewJob] | None] = ContextVar("celeriac_captured", default=None)
_writer: ContextVar[Writer | None] = ContextVar("celeriac_writer", default=None)
_kept: ContextVar[list[NewJob] | None] = ContextVar("celeriac_kept", default=None)


@contextmanager
def capture_jobs() -> Iterator[list[NewJob]]:
    """Inside the block, jobs that would be enqueued are put into the list instead."""
    jobs: list[NewJob] = []
    token = _captured.set(jobs)
    try:
        yield jobs
    finally:
        _captured.reset(token)


@contextmanager
def write_with(write: Writer) -> Iterator[None]:
    """Inside the block, rows are written by ``write``: in a transaction of the caller's."""
    token = _writer.set(write)
    try:
        yield
    finally:
        _writer.reset(token)


def captured_jobs() -> list[NewJob] | None:
    """The list of the innermost ``capture_jobs`` block; None outside of one."""
    return _captured.get()


def writer(app: Celeriac) -> Writer | None:
    """What rows are written with in the caller's transaction; None: it has none.

    That of the innermost ``write_with`` block; or else the one that the app's web framework is in.
    """
    found = _writer.get()
    return found if found is not None or app.framework is None else app.framework.writer()


@contextmanager
def keep_successors() -> Iterator[list[NewJob]]:
    """Around an attempt: the list takes what follows it and the ledger did not take."""
    jobs: list[NewJob] = []
    token = _kept.set(jobs)
    try:
        yield jobs
    finally:
        _kept.reset(token)


def kept_successors() -> list[NewJob] | None:
    """The list of the innermost ``keep_successors`` block; None outside of one."""
    return _kept.get()


def keep_retry(request: Any, job: NewJob) -> None:
    """Note with a running attempt what its next attempt shall run. It ends as a retry."""
    request.celeriac_retry = job


def take_retry(request: Any) -> NewJob | None:
    """What ``keep_retry`` noted, once; None when there is nothing."""
    found: NewJob | None = request.__dict__.pop("celeriac_retry", None)
    return found
