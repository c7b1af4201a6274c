"""Celeriac, and a result of each job: in Redis for a day, and then in its row."""

from __future__ import annotations

from app.celery import app
from benchmarks.celery_peer import run
from benchmarks.sides.celeriac import SIDE

for _name in ("noop", "timed", "work", "marked"):
    app.tasks[f"benchmarks.{_name}"].ignore_result = False

if __name__ == "__main__":
    run(
        app,
        "benchmarks.sides.celeriac_results",
        worker=["-A", "app", "worker", "-I", "benchmarks.sides.celeriac_results"],
        default_pool=True,
        **SIDE,
    )
