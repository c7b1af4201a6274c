"""Celery with its default settings and Redis results, which it forgets after a day."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.celery_peer import register, run

broker = os.environ["CELERY_BROKER_URL"]
app = Celery("redis_results", broker=broker, backend=broker)
register(app, ignore_result=False)

if __name__ == "__main__":
    run(app, "benchmarks.sides.celery_redis")
