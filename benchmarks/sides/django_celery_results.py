"""Celery with django-celery-results as a Django project has it: a row when a job has ended."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.celery_peer import register, run

# What a project's manage.py does; Celery looks for it.
os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.sides.django_settings"

app = Celery("django_results", broker=os.environ["CELERY_BROKER_URL"], backend="django-db")
register(app, ignore_result=False)


def prepare() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    run(
        app,
        "benchmarks.sides.django_celery_results",
        prepare=prepare,
        distributions=("django", "django-celery-results", "psycopg"),
    )
