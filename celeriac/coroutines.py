"""Coroutines: refused as tasks, and given a thread for calls that wait."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from celeriac.errors import BadArgument

T = TypeVar("T")


def refuse_coroutine(name: str, function: Any) -> None:
    """Raise BadArgument for an ``async def``: a worker would make its coroutine and never run it."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise BadArgument(
            name, "an `async def` cannot be a task: make it a plain function that calls asyncio.run()"
        )


async def in_thread(app: Any, call: Callable[[], T]) -> T:
    """What ``call`` returns, called in a thread, so that the event loop goes on."""
    _ = app.settings  # with which the integration of a web framework is found
    if app.framework is None:
        return await asyncio.to_thread(call)
    found: T = await app.framework.in_thread(call)
    return found
