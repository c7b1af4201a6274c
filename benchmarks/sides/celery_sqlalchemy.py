"""Celery with its default settings and its own SQLAlchemy result backend: a row when a job has ended."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.celery_peer import register, run

app = Celery(
    "sqlalchemy_results",
    broker=os.environ["CELERY_BROKER_URL"],
    backend="db+" + os.environ["DATABASE_URL"],
)
register(app, ignore_result=False)


def prepare() -> None:
    app.backend.ResultSession().close()  # which makes the tables


if __name__ == "__main__":
    run(
        app,
        "benchmarks.sides.celery_sqlalchemy",
        prepare=prepare,
        distributions=("sqlalchemy", "psycopg"),
    )
