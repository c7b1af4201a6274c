"""Chancy, its defaults but one: it looks for more as soon as a job has ended, and not every five seconds."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from functools import cache

from chancy import Chancy, Job, Queue, job

from benchmarks import witness
from benchmarks.side import Side, libpq, main

CONCURRENCY = 2  # of its processes; its table says so, not its command line

app = Chancy(libpq(os.environ["DATABASE_URL"]))


@job()
def noop() -> None:
    witness.done()


@job()
def timed(*, sent: float) -> None:
    witness.started(sent)


# Named by hand: in the process that enqueues, this module has another name.
_NOOP = Job(func="benchmarks.sides.chancy.noop")
_TIMED = Job(func="benchmarks.sides.chancy.timed")


@cache
def opened() -> Chancy:
    return app.__enter__()


def delayed(due: float, seconds: float) -> None:
    later = _TIMED.with_kwargs(sent=due).with_scheduled_at(datetime.now(UTC) + timedelta(seconds=seconds))
    opened().sync_push(later)


def many_later(n: int, delay: float) -> None:
    one = _NOOP.with_scheduled_at(datetime.now(UTC) + timedelta(seconds=delay)) if delay else _NOOP
    for _ in opened().sync_push_many([one] * n):
        pass


def worker(pool: str, concurrency: int) -> list[str]:
    assert concurrency == CONCURRENCY
    return [sys.executable, "-m", "chancy.cli.cli", "--app", "benchmarks.sides.chancy.app", "worker", "start"]


def prepare() -> None:
    async def install() -> None:
        async with Chancy(app.dsn) as made:
            await made.migrate()
            await made.declare(Queue("default", concurrency=CONCURRENCY, eager_polling=True))

    asyncio.run(install())


if __name__ == "__main__":
    main(
        Side(
            noop=lambda: opened().sync_push(_NOOP),
            timed=lambda sent: opened().sync_push(_TIMED.with_kwargs(sent=sent)),
            delayed=delayed,
            worker=worker,
            many=lambda n: many_later(n, 0),
            many_later=many_later,
            prepare=prepare,
            distributions=("chancy", "psycopg"),
        )
    )
