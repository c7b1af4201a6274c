"""Procrastinate, its defaults: a worker is one process that runs one job at a time; rows stay."""

from __future__ import annotations

import os
import sys
from functools import cache

from procrastinate import App, PsycopgConnector
from procrastinate.tasks import Task

from benchmarks import witness
from benchmarks.side import Side, libpq, main

app = App(connector=PsycopgConnector(conninfo=libpq(os.environ["DATABASE_URL"])))


# Named by hand: in the process that enqueues, this module has another name.
@app.task(name="noop")
async def noop() -> None:
    witness.done()


@app.task(name="timed")
async def timed(sent: float) -> None:
    witness.started(sent)


@cache
def opened() -> App:
    return app.open()


def one(task: Task, **arguments: float) -> None:
    opened()
    task.defer(**arguments)


def delayed(due: float, seconds: float) -> None:
    opened()
    timed.configure(schedule_in={"seconds": seconds}).defer(sent=due)


def many_later(n: int, delay: float) -> None:
    opened()
    for begin in range(0, n, 1000):
        deferrer = noop.configure(schedule_in={"seconds": delay} if delay else None)
        deferrer.batch_defer(*({} for _ in range(min(1000, n - begin))))


def worker(pool: str, concurrency: int) -> list[str]:
    one = [sys.executable, "-m", "procrastinate", "--app=benchmarks.sides.procrastinate.app", "worker"]
    return [sys.executable, "-m", "benchmarks.many_workers", str(concurrency), *one]


def prepare() -> None:
    opened().schema_manager.apply_schema()


if __name__ == "__main__":
    main(
        Side(
            noop=lambda: one(noop),
            timed=lambda sent: one(timed, sent=sent),
            delayed=delayed,
            worker=worker,
            many=lambda n: many_later(n, 0),
            many_later=many_later,
            prepare=prepare,
            distributions=("procrastinate", "psycopg"),
        )
    )
