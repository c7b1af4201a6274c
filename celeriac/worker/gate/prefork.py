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
