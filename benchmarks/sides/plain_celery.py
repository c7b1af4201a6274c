"""Celery with its default settings, Redis as broker, no result store: it records nothing."""

from __future__ import annotations

import os
import sys

from celery import Celery

from benchmarks import witness
from benchmarks.side import Side, main

# At import, since `celery -A` looks for it here.
app = Celery("plain", broker=os.environ["CELERY_BROKER_URL"])


@app.task(name="benchmarks.noop", ignore_result=True)
def noop() -> None:
    witness.done()


@app.task(name="benchmarks.timed", ignore_result=True)
def timed(sent: float) -> None:
    witness.started(sent)


def delayed(due: float, seconds: float) -> None:
    timed.apply_async((due,), countdown=seconds)


def worker(pool: str, concurrency: int) -> list[str]:
    argv = [sys.executable, "-m", "celery", "-A", "benchmarks.sides.plain_celery", "worker"]
    return [*argv, "-P", pool, "-c", str(concurrency)]


if __name__ == "__main__":
    main(
        Side(
            noop=noop.delay,
            timed=timed.delay,
            delayed=delayed,
            worker=worker,
            distributions=("celery", "kombu", "redis"),
        )
    )
