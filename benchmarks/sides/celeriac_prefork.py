"""Celeriac as in ``benchmarks/sides/celeriac.py``, but with prefork in place of its default pool."""

from __future__ import annotations

from app.celery import app
from benchmarks.celery_peer import run
from benchmarks.sides.celeriac import SIDE

if __name__ == "__main__":
    run(
        app,
        "benchmarks.sides.celeriac_prefork",
        worker=["-A", "app", "worker", "-I", "benchmarks.sides.celeriac"],
        **SIDE,
    )
