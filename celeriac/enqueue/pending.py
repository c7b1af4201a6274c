"""Jobs that are handed to the caller instead of being written at once.

A retry or a replacement is written by the worker's ledger thread, together with the outcome of
the attempt that asked for it; several jobs that belong together are written in one transaction,
and so are the members of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, TypeAlias
from uuid import UUID

from celeriac.ledger.writes.new_jobs import NewJob

#: Jobs of one transaction.
CHUNK = 1_000

_collected: ContextVar[list[NewJob] | None] = ContextVar("celeriac_collected", default=None)


@contextmanager
def collecting() -> Iterator[list[NewJob]]:
    """Inside the block, what would be enqueued is collected in the list instead."""
    jobs: list[NewJob] = []
    token = _collected.set(jobs)
    try:
        yield jobs
    finally:
        _collected.reset(token)


def is_collecting() -> bool:
    return _collected.get() is not None


def collect(job: NewJob) -> bool:
    """Add ``job`` to the list of the innermost ``collecting`` block; False when there is none."""
    jobs = _collected.get()
    if jobs is None:
        return False
    jobs.append(job)
    return True


#: Writes the rows of jobs; returns how many are new.
Writer: TypeAlias = Callable[[Sequence[NewJob]], int]

_writer: ContextVar[Writer | None] = ContextVar("celeriac_writer", default=None)


def through(write: Writer) -> Token[Any]:
    """From now on, rows are written by ``write``: in a transaction of the caller's."""
    return _writer.set(write)


def through_no_more(token: Token[Any]) -> None:
    _writer.reset(token)


def writer() -> Writer | None:
    return _writer.get()


def is_elsewhere() -> bool:
    """Whether rows are collected, or written in a transaction of the caller's."""
    return is_collecting() or writer() is not None


class Gatherer:
    """The producer of a group, which Celery passes from member to member: they are written together.

    Args:
        producer: what publishes all the rest.
        write: rows, then messages, with that producer.

    Attributes:
        awaited_by: the body of their chord, whose row is there before theirs.
    """

    awaited_by: UUID | None = None

    def __init__(self, producer: Any, write: Callable[[list[NewJob], Any], object]) -> None:
        self._producer = producer
        self._write = write
        self._members: list[NewJob] = []

    def gather(self, job: NewJob) -> None:
        self._members.append(job)
        if len(self._members) >= CHUNK:
            self.write()

    def write(self) -> None:
        """Write those that were not written yet."""
        members, self._members = self._members, []
        if members:
            self._write(members, self._producer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def leave_retry(request: Any, job: NewJob) -> None:
    """Leave with a running attempt what its next attempt shall run."""
    request.celeriac_retry = job


def take_retry(request: Any) -> NewJob | None:
    """Take what ``leave_retry`` left; None when nothing was."""
    found: NewJob | None = request.__dict__.pop("celeriac_retry", None)
    return found
