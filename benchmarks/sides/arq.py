"""arq, its defaults: a worker is one process with up to ten jobs at a time; results stay for an hour."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import cache

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from benchmarks import witness
from benchmarks.side import Side, main

_SETTINGS = RedisSettings.from_dsn(os.environ["CELERY_BROKER_URL"])


async def noop(ctx: dict) -> None:
    witness.done()


async def timed(ctx: dict, sent: float) -> None:
    witness.started(sent)


class WorkerSettings:
    """What its command line asks for."""

    functions = (noop, timed)
    redis_settings = _SETTINGS


@cache
def producer() -> tuple[asyncio.Runner, ArqRedis]:
    runner = asyncio.Runner()
    return runner, runner.run(create_pool(_SETTINGS))


def enqueue(name: str, *args: float, **options: float) -> None:
    runner, pool = producer()
    runner.get_loop().run_until_complete(pool.enqueue_job(name, *args, **options))


def worker(pool: str, concurrency: int) -> list[str]:
    one = [sys.executable, "-m", "arq", "benchmarks.sides.arq.WorkerSettings"]
    return [sys.executable, "-m", "benchmarks.many_workers", str(concurrency), *one]


if __name__ == "__main__":
    main(
        Side(
            noop=lambda: enqueue("noop"),
            timed=lambda sent: enqueue("timed", sent),
            delayed=lambda due, seconds: enqueue("timed", due, _defer_by=seconds),
            worker=worker,
            distributions=("arq", "redis"),
        )
    )
