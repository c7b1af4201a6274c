"""Celery with its default settings, Redis as broker, no result store: it records nothing."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.celery_peer import register, run

# At import, since `celery -A` looks for it here.
app = Celery("plain", broker=os.environ["CELERY_BROKER_URL"])
register(app, ignore_result=True)

if __name__ == "__main__":
    run(app, "benchmarks.sides.plain_celery")
