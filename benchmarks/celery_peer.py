"""The common part of all sides that are Celery with something added."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery

from benchmarks import witness
from benchmarks.side import Side, main


def register(app: Celery, *, ignore_result: bool) -> None:
    """Define the tasks of every side."""

    @app.task(name="benchmarks.noop", ignore_result=ignore_result)
    def noop() -> None:
        witness.done()

    @app.task(name="benchmarks.timed", ignore_result=ignore_result)
    def timed(sent: float) -> None:
        witness.started(sent)

    @app.task(name="benchmarks.work", ignore_result=ignore_result)
    def work(seconds: float) -> None:
        time.sleep(seconds)
        witness.done()

    @app.task(name="benchmarks.compute", ignore_result=ignore_result)
    def compute(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        witness.done()

    @app.task(name="benchmarks.marked", ignore_result=ignore_result)
    def marked(mark: str) -> None:
        witness.done(mark.encode())

    @app.task(name="benchmarks.answer", ignore_result=False)
    def answer(value: int) -> int:
        return value


def run(
    app: Celery,
    module: str,
    *,
    worker: Sequence[str] | None = None,
    distributions: tuple[str, ...] = (),
    default_pool: bool = False,
    **others: Any,
) -> None:
    """Do what the command line asks.

    Args:
        worker: Celery's words for a worker; None when ``module`` is its app.
        default_pool: whether the pool is not named where others are given prefork.
        others: further fields of the ``Side``.
    """
    tasks = app.tasks
    words = worker or ["-A", module, "worker"]

    def delayed(due: float, seconds: float) -> None:
        tasks["benchmarks.timed"].apply_async((due,), countdown=seconds)

    def into(queue: str) -> None:
        tasks["benchmarks.marked"].apply_async((queue[0],), queue=queue)

    def answered() -> None:
        tasks["benchmarks.answer"].delay(1).get(timeout=60)

    def command(pool: str, concurrency: int) -> list[str]:
        named = [] if default_pool and pool == "prefork" else ["-P", pool]
        return [sys.executable, "-m", "celery", *words, *named, "-c", str(concurrency)]

    main(
        Side(
            noop=tasks["benchmarks.noop"].delay,
            timed=tasks["benchmarks.timed"].delay,
            delayed=delayed,
            work=tasks["benchmarks.work"].delay,
            compute=tasks["benchmarks.compute"].delay,
            into=into,
            answered=answered,
            worker=command,
            distributions=("celery", "kombu", "redis", *distributions),
            **others,
        )
    )
