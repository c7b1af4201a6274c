"""PgQueuer, its defaults: a worker is one process that takes ten jobs at a time; its log keeps what ended."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache

import asyncpg
import psycopg
from pgqueuer import PgQueuer, Queries
from pgqueuer.adapters.drivers.psycopg import SyncPsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import SyncQueries

from benchmarks import witness
from benchmarks.limit_sizes import LOOSE, SECONDS, TEN, VARIABLE
from benchmarks.side import Side, libpq, main

_URL = libpq(os.environ["DATABASE_URL"])


@asynccontextmanager
async def made() -> AsyncIterator[PgQueuer]:
    """What its command line asks for."""
    connection = await asyncpg.connect(_URL)
    try:
        queue = PgQueuer.from_asyncpg_connection(connection)

        @queue.entrypoint("noop")
        async def noop(job: Job) -> None:
            witness.done()

        @queue.entrypoint("timed")
        async def timed(job: Job) -> None:
            witness.started(float(job.payload or b""))

        if VARIABLE in os.environ:  # what has a limit is taken by another statement, and so is all beside it

            @queue.entrypoint("loose", concurrency_limit=LOOSE)
            async def loose(job: Job) -> None:
                witness.done()

            @queue.entrypoint("ten", concurrency_limit=TEN)
            async def ten(job: Job) -> None:
                await asyncio.sleep(SECONDS)
                witness.done()

        yield queue
    finally:
        await connection.close()


@cache
def queries() -> SyncQueries:
    return SyncQueries(SyncPsycopgDriver(psycopg.connect(_URL, autocommit=True)))


def timed(sent: float) -> None:
    queries().enqueue("timed", repr(sent).encode())


def delayed(due: float, seconds: float) -> None:
    queries().enqueue("timed", repr(due).encode(), execute_after=timedelta(seconds=seconds))


def many_later(n: int, delay: float, name: str = "noop") -> None:
    for begin in range(0, n, 1000):
        size = min(1000, n - begin)
        due = [timedelta(seconds=delay)] * size
        queries().enqueue([name] * size, [None] * size, [0] * size, due)


def worker(pool: str, concurrency: int) -> list[str]:
    one = [sys.executable, "-m", "pgqueuer", "run", "benchmarks.sides.pgqueuer:made"]
    return [sys.executable, "-m", "benchmarks.many_workers", str(concurrency), *one]


def prepare() -> None:
    async def install() -> None:
        connection = await asyncpg.connect(_URL)
        await Queries.from_asyncpg_connection(connection).install()
        await connection.close()

    asyncio.run(install())


if __name__ == "__main__":
    main(
        Side(
            noop=lambda: queries().enqueue("noop", None),
            timed=timed,
            delayed=delayed,
            worker=worker,
            many=lambda n: many_later(n, 0),
            many_later=many_later,
            prepare=prepare,
            own={"limited": lambda name, n: many_later(int(n), 0, name)},
            distributions=("pgqueuer", "asyncpg", "psycopg"),
        )
    )
