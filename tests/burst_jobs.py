"""Tasks that share their bundles with what ends a child, runs into a limit or leaves in another way.

A worker is given them with ``-I tests.burst_jobs``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded

from tests.witness import END, START, mark


@shared_task(name="tests.step", bind=True, ignore_result=True, max_tries=2, retry_base=0.05)
def step(self: Task[Any, Any], path: str, what: str = "", seconds: float = 0.0) -> None:
    """Mark the start, do ``what``, mark the end. All of them are one task, so that they share bundles."""
    mark(path, self.request.id, self.request.retries, START)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "leave":
        sys.exit(3)
    elif what == "fail":
        raise ValueError("on purpose")
    elif what == "reject":
        raise Reject("on purpose", requeue=False)
    elif what == "retry" and not self.request.retries:
        raise self.retry(countdown=0)
    elif what == "soft":
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            mark(path, self.request.id, self.request.retries, "soft")
    elif seconds:
        time.sleep(seconds)
    mark(path, self.request.id, self.request.retries, END)


@shared_task(name="tests.request_of", bind=True)
def request_of(self: Task[Any, Any], *_: Any) -> dict[str, Any]:
    """Everything that ``self.request`` holds, as text."""
    held = {key: value for key, value in vars(self.request).items() if not key.startswith("_")}
    return {key: f"{type(value).__name__}: {value!r}" for key, value in held.items()}
