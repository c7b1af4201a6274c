"""One awaited call: its job is made in the event loop, and written by a thread that many calls share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celeriac.coroutines import in_thread
from celeriac.enqueue import capture, plain_call
from celeriac.enqueue.awaited.gathering_writer import GatheringWriter
from celeriac.enqueue.prepare import prepare
from celeriac.enqueue.reused_id import Caller
from celeriac.enqueue.write import has_returned

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from celeriac.application import Celeriac

_writers: WeakKeyDictionary[Celeriac, tuple[int, GatheringWriter]] = WeakKeyDictionary()


async def enqueue(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncResult[Any]:
    """What ``task.apply_async(args, kwargs)`` returns; the event loop goes on while the row is written.

    Raises:
        BadArgument, PayloadTooLarge, UnknownTask: nothing was written.
        LedgerUnavailable: the database cannot be reached; the job was refused.
        EnqueueUncertain: the database fell silent inside the commit.
    """
    app: Celeriac = task._get_app()
    if not _is_ours_alone(app, task):
        return await in_thread(app, lambda: task.apply_async(args, kwargs))
    job = plain_call.job_of(task, args, kwargs) or prepare(app, task, args, kwargs)
    await _writer_of(app).write(job, Caller.of(app))
    result: AsyncResult[Any] = task.AsyncResult(str(job.id))
    result.ignored = task.ignore_result
    return result


def _is_ours_alone(app: Celeriac, task: Any) -> bool:
    """Whether no code that may wait runs before the row is written, and nobody else writes it.

    Other code is a web framework's, a receiver, a router, a task's own ``apply_async``. A unique job may be
    the answer to the call in place of its own, which only a call of its own is told.
    """
    _ = app.settings  # with which the integration of a web framework is found
    return (
        app.framework is None
        and not (app.conf.task_always_eager or app.conf.task_send_sent_event)
        and plain_call.is_unwatched(app)
        and plain_call.has_plain_routes(app)
        and type(task).makes_plain_jobs()
        and not (task.unique or task.debounce or task.throttle)
        and capture.captured_jobs() is None
        and capture.writer(app) is None
        and not has_returned(app)
    )


def _writer_of(app: Celeriac) -> GatheringWriter:
    """The writer of ``app`` in this process; a forked child makes its own."""
    pid, found = _writers.get(app, (0, None))
    if found is None or pid != os.getpid():
        found = GatheringWriter(app)
        _writers[app] = os.getpid(), found
    return found
