"""Coroutines: which of them can be a task, whose attempt one is, and a thread for calls that wait."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from celery import Celery

from celeriac.errors import BadArgument

T = TypeVar("T")

#: In a coroutine of a job, and whatever it starts: the task and the request of the attempt.
ATTEMPT: ContextVar[tuple[Any, Any] | None] = ContextVar("celeriac_attempt", default=None)


def refuse_async_generator(name: str, function: Any) -> None:
    """Raise BadArgument for an ``async def`` that yields: a job has one result."""
    if inspect.isasyncgenfunction(function):
        raise BadArgument(name, "an `async def` that yields cannot be a task: a job has one result")


def current_worker_task(app: Any) -> Any:
    """The task whose attempt this thread or this coroutine is at; ``Celeriac.current_worker_task``."""
    attempt = ATTEMPT.get()
    return Celery.current_worker_task.fget(app) if attempt is None else attempt[0]


async def in_thread(app: Any, call: Callable[[], T]) -> T:
    """What ``call`` returns, called in a thread, so that the event loop goes on."""
    _ = app.settings  # with which the integration of a web framework is found
    if app.framework is None:
        return await asyncio.to_thread(call)
    found: T = await app.framework.in_thread(call)
    return found
