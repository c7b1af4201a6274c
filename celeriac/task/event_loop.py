"""The event loop of tasks that are an ``async def``: one for each process that runs them, in its own thread.

A job's own thread waits for its coroutine, so that Celery's tracer, signals, limits and outcomes are those of
any other job. As many coroutines run at the same time as the pool has places: one in a child of prefork, as
many as there are threads with ``-P threads``, and as ``--async-concurrency`` says in a child of burst.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from celery.app.task import Task as CeleryTask

from celeriac.coroutines import ATTEMPT, refuse_async_generator
from celeriac.errors import BadArgument
from celeriac.events import Event

logger = logging.getLogger(__name__)


def complete_coroutines(task: Any) -> None:
    """If ``task`` is an ``async def``, have its ``run`` do all of it, as Celery expects of a function.

    Called from inside of an event loop, and not for a job, it returns the coroutine.

    Raises:
        BadArgument: it is an asynchronous generator, which returns nothing.
    """
    refuse_async_generator(str(task.name), task.run)
    refuse_async_generator(str(task.name), getattr(task, "_decorated_fun", None))
    if not inspect.iscoroutinefunction(task.run):
        return
    kind = type(task)
    found = inspect.getattr_static(kind, "run")
    is_static = isinstance(found, staticmethod)
    function = found.__func__ if is_static else found

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        # Of the task that runs: a class may be shared with one that was joined with it.
        coroutine = function(*args, **kwargs)
        mine = task if is_static else args[0]
        request = mine.request_stack.top
        if (request is None or request.called_directly) and _in_event_loop():
            return coroutine
        return complete(mine, coroutine)

    kind.run = staticmethod(run) if is_static else run
    kind._celeriac_coroutine = True


def is_coroutine(task: Any) -> bool:
    """Whether ``task`` is an ``async def``."""
    return bool(getattr(task, "_celeriac_coroutine", False))


class Stopped(BaseException):
    """A coroutine was stopped from outside. Celery's tracer stores nothing of it, as no ``Exception``."""


class Interrupt:
    """Cancels the coroutine of one attempt, from another thread.

    Attributes:
        reason: what is raised in the attempt's own thread when the coroutine has ended: ``Stopped`` whatever
            the coroutine came to, anything else only if that was its ``CancelledError``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] | None = None
        self.reason: BaseException | None = None

    def interrupt(self, reason: BaseException) -> None:
        """Cancel it; if it has not begun yet, as soon as it does."""
        with self._lock:
            if not isinstance(self.reason, Stopped):
                self.reason = reason
            if self._cancel is not None:
                self._cancel()

    def attach(self, cancel: Callable[[], object]) -> None:
        with self._lock:
            self._cancel = cancel
            if self.reason is not None:
                cancel()

    def detach(self, error: BaseException | None) -> None:
        """The coroutine has ended of ``error``, if that is not None.

        Raises:
            BaseException: the reason for which it was cancelled.
        """
        with self._lock:
            self._cancel = None
            reason = self.reason
        if isinstance(reason, Stopped) or (reason is not None and isinstance(error, asyncio.CancelledError)):
            raise reason


@contextmanager
def interruptible(interrupt: Interrupt) -> Iterator[None]:
    """Let ``interrupt`` cancel the coroutines for which this thread waits in the block."""
    _loops.here.interrupt = interrupt
    try:
        yield
    finally:
        _loops.here.interrupt = None


def complete(task: Any, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What ``coroutine`` of ``task`` returns; this thread waits for it.

    Raises:
        BaseException: what it raises; or what interrupts this thread, as a soft time limit does, once the
            coroutine has ended of its ``CancelledError``.
    """
    run, loop, context = _Run(coroutine), _loop(), copy_context()
    request = task.request_stack.top
    if request is not None and not request.called_directly:
        context.run(ATTEMPT.set, (task, request))
    context.run(loop.call_soon_threadsafe, run.start)
    interrupt: Interrupt | None = getattr(_loops.here, "interrupt", None)
    if interrupt is not None:
        interrupt.attach(functools.partial(loop.call_soon_threadsafe, run.cancel))
    try:
        run.ended.wait()
    except BaseException:  # whatever it is, it is raised when the coroutine has had its chance to end well
        loop.call_soon_threadsafe(run.cancel)
        run.ended.wait()
        if isinstance(run.error, asyncio.CancelledError):
            raise
    if interrupt is not None:
        interrupt.detach(run.error)
    if run.error is not None:
        raise run.error
    return run.result


def request_of(task: Any) -> Any:
    """The request of the attempt that this thread, or this coroutine, is at; ``Task.request``."""
    attempt = ATTEMPT.get()
    if attempt is not None and attempt[0] is task:
        return attempt[1]
    return CeleryTask.request.fget(task)


class _Run:
    """One coroutine on the loop; ``ended`` is set behind whatever it came to."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[None] | None = None
        self.ended = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._complete())

    def cancel(self) -> None:
        assert self._task is not None  # what is called later on a loop runs later
        self._task.cancel()

    async def _complete(self) -> None:
        try:
            self.result = await self._coroutine
        except BaseException as exc:  # also what would end the loop: it belongs to the job's thread
            self.error = exc
        finally:
            self.ended.set()


class _Loops:
    """The loop of this process. A forked child makes its own."""

    lock: threading.Lock
    loop: asyncio.AbstractEventLoop | None
    here: threading.local  # of each thread: what may cancel the coroutine for which it waits

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        self.lock, self.loop, self.here = threading.Lock(), None, threading.local()


_loops = _Loops()


def _loop() -> asyncio.AbstractEventLoop:
    if (modules := sys.modules.get("gevent.monkey")) and modules.is_module_patched("threading"):
        raise BadArgument(
            "pool", "tasks that are an `async def` need -P burst, prefork, threads or solo, found gevent"
        )
    with _loops.lock:
        if _loops.loop is None:
            _loops.loop = asyncio.new_event_loop()
            thread = threading.Thread(
                target=_serve, args=(_loops.loop,), name="celeriac-asyncio", daemon=True
            )
            thread.start()
        return _loops.loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except BaseException:  # a SystemExit of a task that a job left behind must not end the others
            logger.exception(Event.EVENT_LOOP_INTERRUPTED)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
