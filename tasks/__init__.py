"""The work. Importing any task binds it to the app, so that ``.delay()`` from app code finds its ledger."""

from app.celery import app as celery_app

__all__ = ["celery_app"]
