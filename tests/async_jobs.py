"""Asynchronous tasks for tests. A worker is given them with ``-I tests.async_jobs``."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

from celery import Task, shared_task

_arrived: list[str] = []
_all_there = asyncio.Event()


@shared_task(name="tests.meet", bind=True)
async def meet(self: Task[Any, Any], number: int) -> str:
    """Wait until so many of them run at the same time, on one event loop; the id that its request has."""
    _arrived.append(self.request.id)
    if len(_arrived) >= number:
        _all_there.set()
    await _all_there.wait()
    return str(self.request.id)


@shared_task(name="tests.tidy")
async def tidy(ends: str) -> str:
    """Wait for the soft time limit; then return, raise, or go on as the limit has it."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if ends == "returns":
            return "tidied up"
        if ends == "raises":
            raise ValueError("cannot tidy up") from None
        raise
    return "not interrupted"


@shared_task(name="tests.process_facts")
def process_facts() -> dict[str, Any]:
    """What this child shares with its parent, and what it has imported."""
    return {"frozen": gc.get_freeze_count(), "modules": sorted(sys.modules)}
