"""Asynchronous tasks for tests. A worker is given them with ``-I tests.async_jobs``."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Reject
from celery.signals import task_prerun

from tests.witness import END, START, mark

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


@shared_task(name="tests.async_step", bind=True, max_tries=2, retry_base=0.05, ignore_result=False)
async def async_step(self: Task[Any, Any], path: str, what: str = "", seconds: float = 0.0) -> dict[str, Any]:
    """Mark the start, do ``what``, mark the end; return who has run it."""
    mark(path, self.request.id, self.request.retries, START)
    await asyncio.sleep(seconds)
    if what == "fail":
        raise ValueError("on purpose")
    if what == "leave":
        sys.exit(3)
    if what == "reject":
        raise Reject("on purpose", requeue=False)
    if what == "retry" and not self.request.retries:
        raise self.retry(countdown=0)
    if what == "hang":
        await asyncio.Event().wait()
    if what == "deaf":
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    if what == "unpickled":
        raise Unpickled(lambda: None)
    mark(path, self.request.id, self.request.retries, END)
    return {"pid": os.getpid(), "id": self.request.id, "seen": SEEN.get()}


class Unpickled(Exception):
    """Cannot be sent to another process."""


#: Set by a receiver of ``task_prerun``, as a tracer would.
SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


@task_prerun.connect
def _see(task_id: str, **_: Any) -> None:
    SEEN.set(task_id)


@shared_task(name="tests.async_request_of", bind=True)
async def async_request_of(self: Task[Any, Any], *_: Any) -> dict[str, Any]:
    """Everything that ``self.request`` holds, as text."""
    held = {key: value for key, value in vars(self.request).items() if not key.startswith("_")}
    return {key: f"{type(value).__name__}: {value!r}" for key, value in held.items()}


@shared_task(name="tests.async_parent", ignore_result=False)
async def async_parent(value: int) -> Any:
    """Enqueue another coroutine, and wait for what it returns."""
    found = await async_double.adelay(value)
    return await found.aget(timeout=30)


@shared_task(name="tests.async_double", ignore_result=False)
async def async_double(value: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * value
