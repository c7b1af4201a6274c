"""Celery with django-celery-results as a Django project has it: a row when a job has ended."""

from __future__ import annotations

import os

import django
from celery import Celery

from benchmarks.celery_peer import register, run

# What a project's manage.py does; Celery looks for it.
os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.sides.django_settings"

app = Celery("django_results", broker=os.environ["CELERY_BROKER_URL"], backend="django-db")
register(app, ignore_result=False)


def prepare() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    django.setup()  # which a worker does by itself
    run(
        app,
        "benchmarks.sides.django_celery_results",
        prepare=prepare,
        distributions=("django", "django-celery-results", "psycopg"),
    )
