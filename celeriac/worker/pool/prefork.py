"""Prefork's children: what they share with their parent, and jobs that are half-written when it stops."""

from __future__ import annotations

import gc
from typing import Any

from celery.signals import worker_before_create_process


def finish_writes(pool: Any) -> None:
    """Write the rest of jobs that are half-written to prefork's children, as the event loop does no more.

    Celery's own ``AsynPool.flush`` does the same, but also drops jobs.
    """
    writers = getattr(pool, "_active_writers", None)
    if not writers:
        return
    owner = {job._writer(): job for job in pool._cache.values() if getattr(job, "_writer", None)}
    for writer in list(writers):
        job = owner.get(writer)
        if job is not None and job._write_to._is_alive():
            pool._flush_writer(job._write_to, writer)


def drop_unwritten(pool: Any) -> None:
    """Forget jobs that no prefork child was given yet; the ledger thread releases them."""
    buffer = getattr(pool, "outbound_buffer", None)
    while buffer:
        buffer.popleft().discard()


def discard(pool: Any, id: str) -> None:
    """Forget a job that could not be written; the pool remembers it before it is pickled."""
    for job in list(getattr(pool, "_cache", {}).values()):
        if getattr(job, "correlation_id", None) == id:
            job.discard()


def watch_again(pool: Any) -> None:
    """Let the event loop watch each child when the pool is registered again.

    Celery (5.7) removes a child's poll when the child ends. If the child is not reaped yet, the next
    connection to the broker would end the worker.
    """
    for child in getattr(pool, "_pool", ()):
        if getattr(child, "_sentinel_poll", pool) is None:
            del child._sentinel_poll


def share_memory(**_: Any) -> None:
    """Let the children share what is in memory. Called before the first of them is made.

    A collection of garbage writes to every object that it looks at, and so copies its page. It looks at none
    of these again. Once: what is garbage later must be found.
    """
    worker_before_create_process.disconnect(share_memory)
    gc.collect()
    gc.freeze()
