"""RQ, its defaults: a job and its result stay in Redis for 500 seconds; each job is forked."""

from __future__ import annotations

import os
import sys

from redis import Redis
from rq import Queue

from benchmarks import witness
from benchmarks.side import Side, main

_URL = os.environ["CELERY_BROKER_URL"]
_NOOP, _TIMED = "benchmarks.sides.rq.noop", "benchmarks.sides.rq.timed"

queue = Queue(connection=Redis.from_url(_URL))


def noop() -> None:
    witness.done()


def timed(sent: float) -> None:
    witness.started(sent)


def many(n: int) -> None:
    for begin in range(0, n, 1000):
        queue.enqueue_many([Queue.prepare_data(_NOOP) for _ in range(min(1000, n - begin))])


def worker(pool: str, concurrency: int) -> list[str]:
    argv = [sys.executable, "-m", "rq.cli", "worker-pool", "--url", _URL]
    return [*argv, "--num-workers", str(concurrency), "default"]


if __name__ == "__main__":
    main(
        Side(
            noop=lambda: queue.enqueue(_NOOP),
            timed=lambda sent: queue.enqueue(_TIMED, sent),
            worker=worker,
            many=many,
            distributions=("rq", "redis"),
        )
    )
