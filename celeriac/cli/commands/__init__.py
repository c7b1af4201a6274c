"""The commands of ``celery -A app``, one module each."""
