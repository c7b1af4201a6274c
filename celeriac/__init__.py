"""Celeriac: Celery with roots. Every job is a row in a SQL table before it is a message."""

__version__ = "0.1.0"
