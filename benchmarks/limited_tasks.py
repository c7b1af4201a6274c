"""Tasks with limits, for trials that ask for them: where there is a limit, keepers look for its jobs."""

from __future__ import annotations

import os
import time

from benchmarks import witness
from benchmarks.limit_sizes import LOOSE, PACE, SECONDS, TEN, VARIABLE
from celeriac import Celeriac, Limit
from celeriac.enqueue.bulk import enqueue_many


def register(app: Celeriac) -> None:
    """Define them, if they are asked for."""
    if VARIABLE not in os.environ:
        return

    @app.task(name="benchmarks.loose", ignore_result=True, limit=Limit("loose", concurrency=LOOSE))
    def loose() -> None:
        witness.done()

    @app.task(name="benchmarks.ten", ignore_result=True, limit=Limit("ten", concurrency=TEN))
    def ten() -> None:
        time.sleep(SECONDS)
        witness.done()

    @app.task(name="benchmarks.paced", ignore_result=True, limit=Limit("paced", rate=f"{PACE}/s"))
    def paced() -> None:
        witness.done()

    @app.task(
        name="benchmarks.held", ignore_result=True, limit=Limit("held", concurrency=2, key=lambda key: key)
    )
    def held(key: int) -> None: ...


def limited(app: Celeriac, name: str, n: str) -> None:
    """Enqueue so many jobs of one of these tasks."""
    enqueue_many(app.tasks[f"benchmarks.{name}"], (() for _ in range(int(n))))
