"""Huey on Redis, its defaults: a job that returns nothing leaves nothing."""

from __future__ import annotations

import os
import sys

from huey import RedisHuey

from benchmarks import witness
from benchmarks.side import Side, main

huey = RedisHuey("benchmarks", url=os.environ["CELERY_BROKER_URL"])


# Named by hand: in the process that enqueues, this module has another name.
@huey.task(name="noop")
def noop() -> None:
    witness.done()


@huey.task(name="timed")
def timed(sent: float) -> None:
    witness.started(sent)


def delayed(due: float, seconds: float) -> None:
    timed.schedule((due,), delay=seconds)


def worker(pool: str, concurrency: int) -> list[str]:
    argv = [sys.executable, "-m", "huey.bin.huey_consumer", "benchmarks.sides.huey.huey"]
    return [*argv, "--worker-type=process", f"--workers={concurrency}", "--graceful-signal=TERM"]


if __name__ == "__main__":
    main(
        Side(noop=noop, timed=timed, delayed=delayed, worker=worker, distributions=("huey", "redis")),
    )
