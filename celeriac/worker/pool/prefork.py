"""What is on its way from the event loop to prefork's children, when the loop is given up."""

from __future__ import annotations

from typing import Any


def finish_writes(pool: Any) -> None:
    """Finish what is half-written to prefork's children: the event loop has forgotten the rest.

    As Celery's own ``AsynPool.flush`` does, without the jobs that it would throw away.
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
    """Forget what no prefork child was given yet; the ledger thread releases it."""
    buffer = getattr(pool, "outbound_buffer", None)
    while buffer:
        buffer.popleft().discard()


def discard(pool: Any, id: str) -> None:
    """Forget a job that could not be written; it is in the pool's book before it is pickled."""
    for job in list(getattr(pool, "_cache", {}).values()):
        if getattr(job, "correlation_id", None) == id:
            job.discard()


def watch_again(pool: Any) -> None:
    """Let the event loop watch each child when it takes the pool in again.

    Celery (5.7) forgets how to watch a child when it hears of its end; where the child is not reaped yet, the
    next connection to the broker would end the worker.
    """
    for child in getattr(pool, "_pool", ()):
        if getattr(child, "_sentinel_poll", pool) is None:
            del child._sentinel_poll
