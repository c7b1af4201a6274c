"""The common part of the two SAQ sides."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import cache
from typing import Any

from saq import Queue

from benchmarks import witness
from benchmarks.side import Side, main


async def noop(ctx: dict[str, Any]) -> None:
    witness.done()


async def timed(ctx: dict[str, Any], *, sent: float) -> None:
    witness.started(sent)


def settings(queue: Queue) -> dict[str, Any]:
    """What its command line asks for."""
    return {"queue": queue, "functions": [noop, timed]}


def run(queue: Queue, module: str, *, distributions: tuple[str, ...]) -> None:
    """Do what the command line asks; the worker reads ``settings`` of ``module``."""

    @cache
    def loop() -> asyncio.AbstractEventLoop:
        made = asyncio.new_event_loop()
        made.run_until_complete(queue.connect())
        return made

    def enqueue(name: str, **options: Any) -> None:
        loop().run_until_complete(queue.enqueue(name, **options))

    def worker(pool: str, concurrency: int) -> list[str]:
        one = [sys.executable, "-m", "saq", f"{module}.settings"]
        return [sys.executable, "-m", "benchmarks.many_workers", str(concurrency), *one]

    main(
        Side(
            noop=lambda: enqueue("noop"),
            timed=lambda sent: enqueue("timed", sent=sent),
            delayed=lambda due, seconds: enqueue("timed", sent=due, scheduled=int(time.time() + seconds)),
            worker=worker,
            prepare=loop,
            distributions=("saq", *distributions),
        )
    )
