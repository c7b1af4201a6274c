"""Dramatiq on Redis, its defaults: eight threads in each process, no result backend."""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks import witness
from benchmarks.side import Side, main

dramatiq.set_broker(RedisBroker(url=os.environ["CELERY_BROKER_URL"]))


@dramatiq.actor
def noop() -> None:
    witness.done()


@dramatiq.actor
def timed(sent: float) -> None:
    witness.started(sent)


def delayed(due: float, seconds: float) -> None:
    timed.send_with_options(args=(due,), delay=int(seconds * 1000))


def worker(pool: str, concurrency: int) -> list[str]:
    argv = [sys.executable, "-m", "dramatiq", "benchmarks.sides.dramatiq"]
    return [*argv, "--processes", str(concurrency)]


if __name__ == "__main__":
    main(
        Side(
            noop=noop.send,
            timed=timed.send,
            delayed=delayed,
            worker=worker,
            distributions=("dramatiq", "redis"),
        )
    )
