"""Celeriac as shipped, its ledger on PostgreSQL: nothing is set but where the two servers are."""

from __future__ import annotations

import sys

from app.bulk import enqueue_many
from app.celery import app
from app.ledger.migrate import upgrade
from benchmarks import witness
from benchmarks.side import Side, main


@app.task(name="benchmarks.noop", ignore_result=True)
def noop() -> None:
    witness.done()


@app.task(name="benchmarks.timed", ignore_result=True)
def timed(sent: float) -> None:
    witness.started(sent)


def delayed(due: float, seconds: float) -> None:
    timed.apply_async((due,), countdown=seconds)


def many(n: int, delay: float) -> None:
    enqueue_many(noop, (() for _ in range(n)), **({"countdown": delay} if delay else {}))


def worker(pool: str, concurrency: int) -> list[str]:
    argv = [sys.executable, "-m", "celery", "-A", "app", "worker", "-I", "benchmarks.sides.celeriac"]
    return [*argv, "-P", pool, "-c", str(concurrency)]


def prepare() -> None:
    upgrade(app.settings.database)


if __name__ == "__main__":
    main(
        Side(
            noop=noop.delay,
            timed=timed.delay,
            delayed=delayed,
            worker=worker,
            many=many,
            prepare=prepare,
            distributions=("celery", "kombu", "redis", "sqlalchemy", "psycopg"),
        )
    )
