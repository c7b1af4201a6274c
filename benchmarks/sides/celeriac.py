"""Celeriac as shipped, its ledger on PostgreSQL: nothing is set but where the two servers are."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from app.celery import app
from benchmarks import limited_tasks, witness
from benchmarks.celery_peer import register, run
from celeriac import retention
from celeriac.enqueue.bulk import enqueue_many

register(app, ignore_result=True)
limited_tasks.register(app)


@app.task(name="benchmarks.awaits", ignore_result=True)
async def awaits(seconds: float) -> None:
    await asyncio.sleep(seconds)
    witness.done()


def awaiting(n: str, seconds: str) -> None:
    enqueue_many(awaits, ((float(seconds),) for _ in range(int(n))))


def awaited_calls(n: str, at_once: str) -> float:
    """Seconds that ``n`` awaited calls take in one event loop, so many at once."""
    task = app.tasks["benchmarks.noop"]

    async def call(count: int) -> None:
        for _ in range(count):
            await task.adelay()

    async def call_all(count: int) -> None:
        await asyncio.gather(*(call(count) for _ in range(int(at_once))))

    async def measured() -> float:
        await call_all(2)  # which connects and prepares
        begin = time.perf_counter()
        await call_all(int(n) // int(at_once))
        return time.perf_counter() - begin

    return asyncio.run(measured())


def many(n: int) -> None:
    enqueue_many(app.tasks["benchmarks.noop"], (() for _ in range(n)))


def many_later(n: int, delay: float) -> None:
    enqueue_many(app.tasks["benchmarks.noop"], (() for _ in range(n)), countdown=delay)


def many_working(n: str, seconds: str, user: str) -> None:
    """Jobs of one tenant that sleep."""
    calls = ((float(seconds),) for _ in range(int(n)))
    enqueue_many(app.tasks["benchmarks.work"], calls, user_id=user)


def prepare() -> None:
    from celeriac.ledger.migrate import (
        upgrade,
    )  # which a worker does not import: it would cost it time and memory

    upgrade(app.settings.database)


def claim_all(connections: str) -> float:
    from benchmarks.claimers import claim_all as claim  # which a worker does not import

    return claim(app, int(connections))


#: What it has that other sides have not.
SIDE: dict[str, Any] = {
    "many": many,
    "many_later": many_later,
    "prepare": prepare,
    "own": {
        "awaiting": awaiting,
        "awaited-calls": awaited_calls,
        "prune": retention.prune,
        "claim-all": claim_all,
        "many_working": many_working,
        "limited": partial(limited_tasks.limited, app),
    },
    "distributions": ("sqlalchemy", "psycopg"),
}

if __name__ == "__main__":
    run(
        app,
        "benchmarks.sides.celeriac",
        worker=["-A", "app", "worker", "-I", "benchmarks.sides.celeriac"],
        default_pool=True,
        **SIDE,
    )
