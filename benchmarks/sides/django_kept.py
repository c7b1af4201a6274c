"""As ``django_celery_results``, but Celery keeps Django's connection for a thousand jobs."""

from __future__ import annotations

import django

from benchmarks.celery_peer import run
from benchmarks.sides.django_celery_results import app, prepare

app.conf["CELERY_DB_REUSE_MAX"] = 1000  # read by its Django fixup, by this name

if __name__ == "__main__":
    django.setup()
    run(
        app,
        "benchmarks.sides.django_kept",
        prepare=prepare,
        distributions=("django", "django-celery-results", "psycopg"),
    )
