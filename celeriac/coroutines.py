"""Refuse coroutine functions as tasks."""

from __future__ import annotations

import inspect
from typing import Any

from celeriac.errors import BadArgument


def refuse_coroutine(name: str, function: Any) -> None:
    """Raise BadArgument for an ``async def``: a worker would make its coroutine and never run it."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise BadArgument(
            name, "an `async def` cannot be a task: make it a plain function that calls asyncio.run()"
        )
