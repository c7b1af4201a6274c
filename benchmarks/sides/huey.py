"""Huey on Redis, its defaults: a job that returns nothing leaves nothing."""

from __future__ import annotations

import os
import sys

from huey import RedisHuey

from benchmarks import witness
from benchmarks.side import Side, main

huey = RedisHuey("benchmarks", url=os.environ["CELERY_BROKER_URL"])


@huey.task()
def noop() -> None:
    witness.done()


@huey.task()
def timed(sent: float) -> None:
    witness.started(sent)


def delayed(due: float, seconds: float) -> None:
    timed.schedule((due,), delay=seconds)


def worker(pool: str, concurrency: int) -> list[str]:
    argv = [sys.executable, "-m", "huey.bin.huey_consumer", "benchmarks.sides.huey.huey"]
    return [*argv, "--worker-type=process", f"--workers={concurrency}", "--graceful-signal=TERM"]


if __name__ == "__main__":
    # A job is named after its module, which has another name here than where a worker looks for it.
    from benchmarks.sides.huey import delayed, noop, timed

    main(
        Side(noop=noop, timed=timed, delayed=delayed, worker=worker, distributions=("huey", "redis")),
    )
