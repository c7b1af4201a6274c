"""What the sides that are Celery with something added have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from celery import Celery

from benchmarks import witness
from benchmarks.side import Side, main


def register(app: Celery, *, ignore_result: bool) -> None:
    """Define the two tasks of every side."""

    @app.task(name="benchmarks.noop", ignore_result=ignore_result)
    def noop() -> None:
        witness.done()

    @app.task(name="benchmarks.timed", ignore_result=ignore_result)
    def timed(sent: float) -> None:
        witness.started(sent)


def run(
    app: Celery,
    module: str,
    *,
    prepare: Callable[[], Any] = lambda: None,
    distributions: tuple[str, ...] = (),
) -> None:
    """Do what the command line asks; the worker imports ``module``."""
    noop, timed = app.tasks["benchmarks.noop"], app.tasks["benchmarks.timed"]

    def delayed(due: float, seconds: float) -> None:
        timed.apply_async((due,), countdown=seconds)

    def worker(pool: str, concurrency: int) -> list[str]:
        argv = [sys.executable, "-m", "celery", "-A", module, "worker"]
        return [*argv, "-P", pool, "-c", str(concurrency)]

    main(
        Side(
            noop=noop.delay,
            timed=timed.delay,
            delayed=delayed,
            worker=worker,
            prepare=prepare,
            distributions=("celery", "kombu", "redis", *distributions),
        )
    )
