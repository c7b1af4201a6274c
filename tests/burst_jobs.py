"""Tasks that share their bundles with what ends a child, runs into a limit or leaves in another way.

A worker is given them with ``-I tests.burst_jobs``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from celeriac.enqueue.transactions import complete_in
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


@shared_task(name="tests.value_of", bind=True, ignore_result=False, max_tries=50, retry_base=0.05)
def value_of(self: Task[Any, Any], value: Any, seconds: float = 0.0) -> Any:
    """Return the value; as often as ``x`` is said, that."""
    if seconds:
        time.sleep(seconds)
    return "x" * value["times"] if isinstance(value, dict) and "times" in value else value


class Heard(Task[Any, Any] if TYPE_CHECKING else Task):
    """Looks into the result store when it has ended well."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        mark(args[0], task_id, 0, f"{self.AsyncResult(task_id).state}")


@shared_task(name="tests.heard", base=Heard, ignore_result=False)
def heard(path: str) -> str:
    return path


@shared_task(name="tests.books", bind=True, ignore_result=False)
def books(self: Task[Any, Any], number: int) -> str:
    """Complete the job in a transaction of its own, and return something."""
    engine = create_engine(self.app.settings.database)
    with Session(engine) as session, session.begin():
        complete_in(session, number, app=self.app)
    engine.dispose()
    return f"booked {number}"
