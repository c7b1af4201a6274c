"""Tasks that fill the memory of their child, and receivers that write down when a child begins and ends.

A worker is given them with ``-I tests.children_jobs``, and the file for the children in CHILDREN_MARKS.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Task, shared_task
from celery.signals import worker_process_init, worker_process_shutdown

from tests.witness import END, START, mark

_kept: list[bytes] = []


@shared_task(name="tests.child", bind=True, ignore_result=True, max_tries=2, retry_base=0.05)
def child(self: Task[Any, Any], path: str, seconds: float = 0.0, megabytes: int = 0) -> None:
    """Mark the start, keep so much memory for as long as the process lives, wait, mark the end."""
    mark(path, self.request.id, self.request.retries, START)
    if megabytes:
        _kept.append(os.urandom(1 << 20) * megabytes)
    if seconds:
        time.sleep(seconds)
    mark(path, self.request.id, self.request.retries, END)


def _begins(**_: Any) -> None:
    if (path := os.environ.get("CHILDREN_MARKS")) is not None:
        mark(path, "child", 0, START)


def _ends(**_: Any) -> None:
    if (path := os.environ.get("CHILDREN_MARKS")) is not None:
        mark(path, "child", 0, END)


worker_process_init.connect(_begins)
worker_process_shutdown.connect(_ends)
